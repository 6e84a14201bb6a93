"""The model: a network of one hidden layer, as scikit-learn's MLPRegressor, in plain Python."""

from collections.abc import Sequence
from math import tanh
from operator import mul


class Mlp:
    """A network with one hidden layer of tanh and one output: `hidden` has a row of weights a unit, over the inputs
    minus `mean` and divided by `scale`; `bias` and `output` a number a unit, `rest` is the output's own bias."""

    def __init__(
        self,
        mean: Sequence[float],
        scale: Sequence[float],
        hidden: Sequence[Sequence[float]],
        bias: Sequence[float],
        output: Sequence[float],
        rest: float,
    ) -> None:
        # The inputs' mean and scale are taken into the weights: one multiplication less for each.
        self._rows = [[weight / width for weight, width in zip(row, scale, strict=True)] for row in hidden]
        self._bias = [own - sum(map(mul, row, mean)) for own, row in zip(bias, self._rows, strict=True)]
        self._output = list(output)
        self._rest = rest

    def predict(self, inputs: Sequence[float]) -> float:
        """Returns the output for inputs in the order of the features."""
        return self.along(inputs, (), [()])[0]

    def along(
        self, inputs: Sequence[float], numbers: Sequence[int], variants: Sequence[Sequence[float]]
    ) -> list[float]:
        """Returns the outputs for inputs of which some, by their numbers, have the values of each variant."""
        sums = [own + sum(map(mul, row, inputs)) for own, row in zip(self._bias, self._rows, strict=True)]
        columns = [[row[number] for row in self._rows] for number in numbers]
        outputs = []
        for values in variants:
            moved = sums
            for column, number, value in zip(columns, numbers, values, strict=True):
                if difference := value - inputs[number]:
                    moved = [one + slope * difference for one, slope in zip(moved, column, strict=True)]
            outputs.append(self._rest + sum(map(mul, self._output, map(tanh, moved))))
        return outputs
