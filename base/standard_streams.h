// What a program says on its standard streams. What it was asked for goes to standard output, and
// must arrive; messages go to standard error, and the work doesn't depend on them.
#pragma once

#include <string_view>

#include "base/result.h"

namespace dmcache {

// Opens those standard streams that whoever started the program has closed, so that what is read or
// written there fails. Otherwise, a file that is opened later gets the number of such a stream, and
// messages are written into the file. To be called before anything is opened.
void occupy_closed_streams();

// Writes to standard error. What can't be written there is lost, and changes nothing else.
void tell(std::string_view text) noexcept;

// Writes to standard output. Fails as write_all() of pending_file.h.
result<> write_out(std::string_view text);

} // namespace dmcache
