#include "caching/tools/xml_reader.h"

#include <expat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace dmcache {
namespace {

using fault = xml_elements::fault;
using place = xml_elements::place;

constexpr std::size_t buffer_size = std::size_t{1} << 20;
constexpr std::size_t longest_line = 128;             // of those that are read without expat
constexpr std::string_view mark_of_ours = "dmcache:"; // at the start of a comment

// Expat keeps a token until it is complete, and looks at all of it whenever there is more of it.
constexpr std::uint64_t longest_tag = std::uint64_t{8} << 10;
constexpr std::uint64_t longest_comment = std::uint64_t{1} << 20;

// Reads one line in the canonical form.
class line_scanner {
 public:
  // There are at least longest_line bytes to read from `line` on.
  explicit line_scanner(const char *line) : next_{line} {}

  bool skip(std::string_view expected) {
    const bool is_there = std::memcmp(next_, expected.data(), expected.size()) == 0;
    next_ += is_there ? expected.size() : 0;
    return is_there;
  }

  bool number(std::uint64_t &into) {
    constexpr std::ptrdiff_t safe_digits = 18;
    const char *const first = next_;
    into = 0;
    for (; *next_ >= '0' && *next_ <= '9' && next_ - first < safe_digits; ++next_) {
      into = into * 10 + static_cast<std::uint64_t>(*next_ - '0');
    }
    return next_ != first;
  }

  std::string_view take(std::size_t count) {
    const std::string_view taken{next_, count};
    next_ += count;
    return taken;
  }

  const char *next() const { return next_; }

 private:
  const char *next_;
};

class document_reader {
 public:
  document_reader(const read_text &text, const xml_reading &how)
      : text_{text}, only_expat_{how.only_expat}, elements_{how.metadata_version, how.accept},
        parser_{XML_ParserCreate(nullptr)} {
    prepare(parser_.get(), on_start);
    XML_SetCommentHandler(parser_.get(), on_comment);
    XML_SetDefaultHandlerExpand(parser_.get(), on_anything_else);
  }

  result<std::unique_ptr<cache_contents>> run() {
    while (!at_end_) {
      if (auto more = fill(); !more) {
        return std::unexpected{more.error()};
      }
      for (std::size_t before = end_ + 1; next_ != before && !finished_;) {
        before = next_; // if step() stays there, more has to be read to go on
        if (!step()) {
          return std::unexpected{*error_};
        }
      }
    }
    return elements_.take();
  }

 private:
  struct release {
    void operator()(XML_Parser parser) const { XML_ParserFree(parser); }
  };

  void prepare(XML_Parser parser, XML_StartElementHandler at_start) {
    if (parser == nullptr) {
      throw std::bad_alloc{};
    }
    XML_SetUserData(parser, this);
    XML_SetElementHandler(parser, at_start, on_end);
    XML_SetCharacterDataHandler(parser, on_text);
    XML_SetStartDoctypeDeclHandler(parser, on_doctype);
  }

  // Moves what is left to the front and reads until the buffer is full.
  result<> fill() {
    std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(next_),
              buffer_.begin() + static_cast<std::ptrdiff_t>(end_), buffer_.begin());
    end_ -= next_;
    next_ = 0;
    while (end_ < buffer_size && !at_end_) {
      const auto count = text_(std::span{buffer_}.subspan(end_, buffer_size - end_));
      if (!count) {
        return std::unexpected{count.error()};
      }
      end_ += *count;
      at_end_ = *count == 0;
    }
    return {};
  }

  // Goes on from next_, if there is enough to do so; false on an error.
  bool step() {
    if (in_canonical_lines_ && !read_lines()) {
      return true;
    }
    const std::string_view rest{buffer_.data() + next_, end_ - next_};
    if (only_expat_) {
      return feed(rest.size());
    }
    for (const std::string_view opening : {"<mappings>\n", "<hints>\n"}) {
      if (const auto at = rest.find(opening); at != std::string_view::npos) {
        if (!feed(at + opening.size())) {
          return false;
        }
        in_canonical_lines_ = section_began_at_ + 1 == fed_;
        return true;
      }
    }
    // An opening may be cut by the buffer's end.
    const std::size_t kept = at_end_ ? 0 : std::min(rest.size(), longest_line);
    return feed(rest.size() - kept);
  }

  // Reads lines in the canonical form. Returns true once something else comes.
  bool read_lines() {
    const bool are_mappings = elements_.where() == place::mappings;
    while (end_ - next_ >= longest_line) {
      const char *const line = buffer_.data() + next_;
      const char *const after = are_mappings ? read_mapping(line) : read_hint(line);
      if (after == nullptr) {
        in_canonical_lines_ = false;
        return true;
      }
      next_ += static_cast<std::size_t>(after - line);
      ++skipped_lines_;
    }
    in_canonical_lines_ = !at_end_;
    return at_end_;
  }

  // Returns what follows the line; null if it isn't canonical or can't be taken, in which case
  // expat will find out why.
  const char *read_mapping(const char *line) {
    line_scanner scanner{line};
    std::uint64_t block = 0;
    std::uint64_t origin = 0;
    if (!scanner.skip("    <mapping cache_block=\"") || !scanner.number(block) ||
        !scanner.skip("\" origin_block=\"") || !scanner.number(origin)) {
      return nullptr;
    }
    const bool clean = scanner.skip("\" dirty=\"false\"/>\n");
    if ((!clean && !scanner.skip("\" dirty=\"true\"/>\n")) ||
        elements_.add({cache_block{block}, origin_block{origin}, !clean})) {
      return nullptr;
    }
    return scanner.next();
  }

  const char *read_hint(const char *line) {
    constexpr std::size_t digits = 8;
    line_scanner scanner{line};
    std::uint64_t block = 0;
    if (!scanner.skip("    <hint cache_block=\"") || !scanner.number(block) ||
        !scanner.skip("\" data=\"")) {
      return nullptr;
    }
    const auto hint = last_hint_.decode(scanner.take(digits));
    if (!hint || !scanner.skip("\"/>\n") || elements_.add_hint(cache_block{block}, *hint)) {
      return nullptr;
    }
    return scanner.next();
  }

  bool feed(std::size_t count) {
    const char *const text = buffer_.data() + next_;
    const bool is_last = at_end_ && next_ + count == end_;
    next_ += count;
    fed_ += count;
    finished_ = is_last;
    const auto status = XML_Parse(parser_.get(), text, static_cast<int>(count), is_last ? 1 : 0);
    if (status == XML_STATUS_ERROR && !error_) {
      stop(XML_ErrorString(XML_GetErrorCode(parser_.get())));
    }
    if (!error_ && fed_ - seen_ > longest_comment) {
      stop(too_long(longest_comment));
    }
    return !error_;
  }

  static std::string too_long(std::uint64_t limit) {
    return fmt::format("more than {} bytes without an end, which no dump has", limit);
  }

  // What is wrong with the length of the token that expat has come to the end of.
  fault check_length(std::uint64_t limit) {
    const auto length = static_cast<std::uint64_t>(XML_GetCurrentByteCount(parser_.get()));
    return length > limit ? fault{too_long(limit)} : fault{};
  }

  std::uint64_t end_of_token() const {
    return static_cast<std::uint64_t>(XML_GetCurrentByteIndex(parser_.get())) +
           static_cast<std::uint64_t>(XML_GetCurrentByteCount(parser_.get()));
  }

  // Reads the element that a comment holds, by a parser of its own.
  void read_comment(std::string_view comment) {
    const auto begin = comment.find_first_not_of(" \t\r\n");
    if (begin == std::string_view::npos || !comment.substr(begin).starts_with(mark_of_ours)) {
      return;
    }
    // Spaces stand for what precedes the element, so that it is found at the same place.
    std::string text{"<!--"};
    text += comment;
    std::fill_n(text.begin(), text.find(mark_of_ours) + mark_of_ours.size(), ' ');
    std::ranges::copy(comment.substr(0, begin), text.begin() + 4);
    const std::unique_ptr<XML_ParserStruct, release> parser{XML_ParserCreate("UTF-8")};
    prepare(parser.get(), on_start_in_comment);
    in_comment_ = parser.get();
    if (XML_Parse(in_comment_, text.data(), static_cast<int>(text.size()), 1) == XML_STATUS_ERROR &&
        !error_) {
      stop(XML_ErrorString(XML_GetErrorCode(in_comment_)));
    }
    in_comment_ = nullptr;
  }

  // The first fault ends the reading.
  void stop(std::string_view complaint) {
    auto line = XML_GetCurrentLineNumber(parser_.get()) + skipped_lines_;
    auto column = XML_GetCurrentColumnNumber(parser_.get()) + 1;
    if (in_comment_ != nullptr) {
      const auto below = XML_GetCurrentLineNumber(in_comment_) - 1;
      line += below;
      column = XML_GetCurrentColumnNumber(in_comment_) + (below == 0 ? column : 1);
    }
    error_ = error{failure::failed, fmt::format("line {}, column {}: {}", line, column, complaint)};
  }

  template <typename Event> static void handle(void *reader, Event event) {
    auto &self = *static_cast<document_reader *>(reader);
    if (self.error_) {
      return;
    }
    if (self.in_comment_ == nullptr) {
      self.seen_ = self.end_of_token();
    }
    try {
      if (const fault wrong = event(self)) {
        self.stop(*wrong);
      }
    } catch (const std::bad_alloc &) { // which must not pass through expat's C code
      self.error_ = error{failure::environment, "out of memory"};
    }
    if (self.error_) {
      XML_StopParser(self.in_comment_ != nullptr ? self.in_comment_ : self.parser_.get(),
                     XML_FALSE);
    }
  }

  static void on_start(void *reader, const char *element, const char **attributes) {
    handle(reader, [&](document_reader &self) {
      self.section_began_at_ = self.seen_;
      fault wrong = self.check_length(longest_tag);
      return wrong ? wrong : self.elements_.start(element, attributes);
    });
  }
  static void on_start_in_comment(void *reader, const char *element, const char **attributes) {
    handle(reader, [&](document_reader &self) {
      return self.elements_.start_in_comment(element, attributes);
    });
  }
  static void on_comment(void *reader, const char *text) {
    handle(reader, [&](document_reader &self) {
      fault wrong = self.check_length(longest_comment);
      if (!wrong) {
        self.read_comment(text);
      }
      return wrong;
    });
  }
  static void on_end(void *reader, const char * /*element*/) {
    handle(reader, [](document_reader &self) {
      fault wrong = self.in_comment_ == nullptr ? self.check_length(longest_tag) : fault{};
      return wrong ? wrong : self.elements_.end();
    });
  }
  static void on_text(void *reader, const char *text, int length) {
    handle(reader, [&](document_reader &self) {
      return self.elements_.text({text, static_cast<std::size_t>(length)});
    });
  }
  // A declaration, an instruction, or the spaces around the root, which may be as many as they like.
  static void on_anything_else(void *reader, const char *text, int length) {
    handle(reader, [&](document_reader &self) {
      return length > 0 && *text == '<' ? self.check_length(longest_tag) : fault{};
    });
  }
  static void on_doctype(void *reader, const char * /*name*/, const char * /*system*/,
                         const char * /*public*/, int /*has_subset*/) {
    handle(reader, [](document_reader & /*self*/) -> fault {
      return "a document type declaration, which no dump has";
    });
  }

  // Decodes each hint once as long as the same one comes again and again: hints take few values.
  class hint_decoder {
   public:
    std::optional<le32> decode(std::string_view digits) {
      if (digits != digits_) {
        hint_ = hint_from_base64(digits);
        digits_ = digits;
      }
      return hint_;
    }

   private:
    std::string digits_;
    std::optional<le32> hint_;
  };

  const read_text &text_;
  bool only_expat_;
  xml_elements elements_;
  std::unique_ptr<XML_ParserStruct, release> parser_;
  XML_Parser in_comment_ = nullptr; // that reads a comment now
  std::vector<char> buffer_ = std::vector<char>(buffer_size);
  std::size_t next_ = 0;               // of buffer_, to be looked at
  std::size_t end_ = 0;                // of what was read into it
  bool at_end_ = false;                // of the document
  bool finished_ = false;              // expat has seen the end
  std::uint64_t fed_ = 0;              // bytes that expat has seen
  std::uint64_t seen_ = 0;             // where the last token ends, in these
  std::uint64_t section_began_at_ = 0; // and where the last start tag does
  bool in_canonical_lines_ = false;
  std::uint64_t skipped_lines_ = 0; // that expat has not seen
  hint_decoder last_hint_;
  std::optional<error> error_;
};

} // namespace

result<std::unique_ptr<cache_contents>> read_xml(const read_text &text, const xml_reading &how) {
  return document_reader{text, how}.run();
}

} // namespace dmcache
