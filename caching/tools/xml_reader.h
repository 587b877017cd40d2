// Reads a dump of this program's cache_dump, or of thin-provisioning-tools'.
//
// Expat is the parser of record. What makes a dump large, though, is millions of lines that differ
// in their numbers only: where expat has just seen a section begin, lines in the canonical form are
// read without it, up to the first one that is anything else. That gives the same result on every
// document.
//
// Comments that begin with "dmcache:" hold elements, too (xml_writer.h).
//
// A tag of more than 8 KiB is refused, and so is a comment of more than 1 MiB, before more of it is
// read.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/result.h"
#include "caching/tools/xml_elements.h"

namespace dmcache {

// Stores the next bytes of a document, and says how many; 0 at its end.
using read_text = std::function<result<std::size_t>(std::span<char> into)>;

struct xml_reading {
  std::uint32_t metadata_version = 2; // of the contents
  xml_elements::accept_superblock accept;
  bool only_expat = false; // for tests
};

// Fails with the line and column of what is wrong, or as `text` does if that fails.
result<std::unique_ptr<cache_contents>> read_xml(const read_text &text, const xml_reading &how);

} // namespace dmcache
