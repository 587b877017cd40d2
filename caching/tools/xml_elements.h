// What the elements of a dump mean, and in which order they come. xml-schema/cache.rng describes
// them; xml_reader.h reads the text.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "caching/metadata/cache_contents.h"

namespace dmcache {

class xml_elements {
 public:
  // What is wrong with an element, for the user to read.
  using fault = std::optional<std::string>;
  // Is told what a document's superblock says, and may refuse it.
  using accept_superblock = std::function<fault(const superblock &)>;

  enum class place : std::uint8_t {
    document,
    superblock,
    mappings,
    mapping,
    hints,
    hint,
    discards,
    discard,
    addition, // to the superblock
    end,
  };

  xml_elements(std::uint32_t metadata_version, accept_superblock accept)
      : version_{metadata_version}, accept_{std::move(accept)} {}

  // `attributes` are names and values in turn, up to a null.
  fault start(std::string_view element, const char *const *attributes);
  // The same for an element in a comment that begins with the mark of comments for this program.
  fault start_in_comment(std::string_view element, const char *const *attributes);
  fault end();
  fault text(std::string_view some);

  // The element that is open.
  place where() const { return place_; }

  // Each does the same as start() and end() of such an element, where it is allowed.
  fault add(const mapping &each) { return contents_->add(each); }
  fault add_hint(cache_block block, le32 hint) { return contents_->add_hint(block, hint); }

  // Requires that the document has ended.
  std::unique_ptr<cache_contents> take();

 private:
  fault start_superblock(const char *const *attributes);
  fault start_addition(const char *const *attributes);
  fault begin_contents(const superblock &block);
  fault start_mapping(const char *const *attributes);
  fault start_hint(const char *const *attributes);
  fault start_discards(const char *const *attributes);
  fault continue_discards(const char *const *attributes); // in another comment
  fault start_discard(const char *const *attributes);

  std::uint32_t version_;
  accept_superblock accept_;
  place place_ = place::document;
  place last_section_ = place::superblock; // of those that have begun
  std::unique_ptr<cache_contents> contents_;
  bool knows_discard_size_ = false;
};

// Four bytes from eight digits of base64; nothing if they are anything else.
std::optional<le32> hint_from_base64(std::string_view digits);

} // namespace dmcache
