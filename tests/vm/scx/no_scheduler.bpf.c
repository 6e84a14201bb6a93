/* Is no scheduler: its one program is of another type, and would see each signal that is sent on the machine. */
#include "scx.h"

u64 signals;

SEC("tracepoint/signal/signal_generate")
int no_scheduler_listen(void *context)
{
	__sync_fetch_and_add(&signals, 1);
	return 0;
}
