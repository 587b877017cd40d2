// Makes one allocation fail, wherever in the program it is.
//
// A program that uses this has other operators new and delete than usual.
#pragma once

#include <cstdint>
#include <optional>

namespace dmcache {

// Of this thread: so many allocations by operator new succeed from now on, and then one fails. Those
// after it succeed.
void fail_allocation_after(std::uint64_t nr_allocations);

// None fails any more. How many would have succeeded before one; nothing if one has failed.
std::optional<std::uint64_t> fail_no_allocation();

} // namespace dmcache
