"""Shell-style patterns for names: *, ?, [abc], [a-z], [!abc]; quick for every pattern, and nothing is kept of any.

fnmatch compiles a regular expression for each pattern and keeps 32,768 of them, whoever gave them.
"""

from collections.abc import Callable

_Token = Callable[[str], bool] | None  # whether a character fits, None for any number of characters


def matcher(pattern: str) -> Callable[[str], bool]:
    """Returns whether a name matches the pattern, as fnmatch.fnmatchcase would have it.

    The time is at most the product of both lengths.
    """
    tokens = _tokens(pattern)
    return lambda name: _matches(tokens, name)


def _tokens(pattern: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            # "?" and "*" next to each other fit in any order: the "*" last, and one is as good as many
            tokens.append(None)
        elif char == "?":
            tokens.append(_any)
        elif char == "[" and (end := pattern.find("]", at + 1 + pattern.startswith("!", at))) >= 0:
            tokens.append(_set(pattern[at:end]))
            at = end + 1
        else:
            tokens.append(char.__eq__)
    return _plain(tokens)


def _plain(tokens: list[_Token]) -> list[_Token]:
    """Returns the tokens with one star, behind the question marks, for each row of both."""
    plain: list[_Token] = []
    star = False
    for token in tokens:
        if token is None:
            star = True
            continue
        if star and token is not _any:
            plain.append(None)
            star = False
        plain.append(token)
    return [*plain, None] if star else plain


def _any(_: str) -> bool:
    return True


def _set(inside: str) -> Callable[[str], bool]:
    negated = inside.startswith("!")
    inside = inside[negated:]
    ranges: list[tuple[str, str]] = []
    at = 0
    while at < len(inside):
        if inside[at + 1 : at + 2] == "-" and at + 2 < len(inside):
            ranges.append((inside[at], inside[at + 2]))
            at += 3
        else:
            ranges.append((inside[at], inside[at]))
            at += 1
    return lambda char: any(low <= char <= high for low, high in ranges) != negated


def _matches(tokens: list[_Token], name: str) -> bool:
    token = at = 0
    behind, retry = -1, 0  # the token behind the last star, and where in the name it is tried next
    while at < len(name):
        if token < len(tokens) and (fits := tokens[token]) is None:
            token += 1
            behind, retry = token, at
        elif token < len(tokens) and fits is not None and fits(name[at]):
            token += 1
            at += 1
        elif behind >= 0:
            retry += 1
            token, at = behind, retry
        else:
            return False
    return all(rest is None for rest in tokens[token:])
