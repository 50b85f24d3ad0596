// What the receiver checks of every message before it keeps it: cheap, without knowing relations.
//
// A message that the network garbled can be had again as long as the source was not told that it is
// safe; once apply meets it, it is too late. So what needs no more than counting is counted here.
// What it lets through, the decoders still judge; what they accept, it lets through.
#pragma once

#include "core/error.hpp"
#include "core/lsn.hpp"
#include "core/output_plugin.hpp"

#include <string_view>

namespace livemigrate {

// Whether kind and lengths of the payload hold together; `in_chunk`: inside a chunk of a streamed
// transaction. Messages that MarkTransaction() reads are left to it. Throws Error 08P01.
void CheckMessage(Plugin plugin, std::string_view payload, bool in_chunk);

// The error, with the position of the message, its length and first bytes in the detail: so few of
// them that a row's values do not stand among them.
Error WithMessage(const Error &error, Plugin plugin, Lsn lsn, std::string_view payload);

} // namespace livemigrate
