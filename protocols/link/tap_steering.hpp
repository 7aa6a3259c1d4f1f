// Spares a TAP with one queue the search for the queue of each frame.
//
// Where RPS is on for any device of the system, Linux hashes what it sends to such a TAP and looks its flow
// up in a table that stays empty: only what is written to one of several queues is noted there.
// [drivers/net/tun.c, tun_automq_xmit()] It does neither when a BPF program is to choose, nor does it run
// that program where there is nothing to choose.
#pragma once

namespace tapir {

/// `fd` is a TAP with one queue, and never has more. The program stays with a device that outlives its users.
/// Without effect where we may load none: as a rule that takes CAP_BPF, outside of user namespaces. Not tried
/// where a seccomp filter is in force, which might end the process for it.
void spare_steering(int fd);

} // namespace tapir
