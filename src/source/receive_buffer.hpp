// How much of a stream the kernel holds while its reader pauses.
#pragma once

namespace livemigrate::source {

// Whether the peer can go on sending for some milliseconds in which nothing is read. It cannot over
// a Unix-domain socket: that is full after some 20 kB of small messages, by the sender's settings.
//
// Lets the kernel hold a few megabytes for a TCP socket whose peer is near: on this machine, or a
// switch away. Its usual 128 kB hold no more than a millisecond of small messages there, and the
// sender then waits at every message. For a far peer the kernel's own tuning is left on, since it
// may go further than a fixed size is allowed to. What the kernel refuses is no error.
bool HoldsBursts(int socket);

} // namespace livemigrate::source
