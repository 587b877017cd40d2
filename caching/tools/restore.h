// cache_restore: metadata from XML.
#pragma once

#include <memory>
#include <optional>

#include "base/device.h"
#include "base/report.h"
#include "caching/tools/xml_reader.h"

namespace dmcache {

struct restore_options {
  std::uint32_t metadata_version = 2;
  std::uint32_t claimed_version = 0; // what the superblock says instead of it, unless 0
  bool clean_shutdown = true;
};

// Reads all of the document. Fails with failure::failed, line and column if anything is wrong in
// it, or if what it describes has no room in `output_size`, which may be unknown yet.
result<std::unique_ptr<cache_contents>> read_document(const read_text &document,
                                                      std::optional<bytes> output_size,
                                                      const restore_options &options);

// How large to make a device for these contents: with room to change them.
bytes device_size_for(const cache_contents &contents);

// Writes them to `to`. Metadata that are there stay in force until the new ones stand durably
// beside them and were found sound, and stay if anything fails. If they leave no room for that, or
// are damaged in their superblock, `to` holds no metadata meanwhile.
result<> restore(const cache_contents &contents, device &to, const restore_options &options,
                 report &tells);

} // namespace dmcache
