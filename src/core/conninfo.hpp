// Connection strings in messages, views and reports: never with a secret.
#pragma once

#include <string>
#include <string_view>

namespace livemigrate {

// `conninfo`, a libpq keyword string or URI, without its secrets.
//
// Reads as libpq does (quotes, backslashes, spaces around "=", percent escapes), but keeps only
// what it knows to be harmless: options from a fixed list of libpq's, so password, sslpassword, a
// later server's new secret and a misspelt "pasword" all go, name and value. What remains is a
// connection string again, options one space apart.
//
// Text that libpq would refuse, or that reads differently from what its writer may have meant (a
// second @ in a URI, a value that looks like another connection string), is cut: nothing from the
// doubtful point on is returned. Garbage gives "". Never throws (but std::bad_alloc).
std::string RedactConninfo(std::string_view conninfo);

} // namespace livemigrate
