// cache_restore: metadata from XML.
#pragma once

#include "base/device.h"
#include "base/report.h"
#include "caching/tools/xml_reader.h"

namespace dmcache {

struct restore_options {
  std::uint32_t metadata_version = 2;
  std::uint32_t claimed_version = 0; // what the superblock says instead of it, unless 0
  bool clean_shutdown = true;
};

// Writes the document's contents to `to`. Nothing is written before all of it was read; a document
// with anything wrong in it leaves `to` without valid metadata.
result<> restore(const read_text &document, device &to, const restore_options &options);

} // namespace dmcache
