#include "bin/lvm/lvm_settings.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include <fmt/format.h>

namespace dmcache {
namespace {

constexpr std::string_view marks = "{}[],=";

struct token {
  enum class kind { word, quoted, mark, end } is;
  std::string text;
  std::size_t line;

  bool is_mark(char wanted) const { return is == kind::mark && text.front() == wanted; }
  bool is_text() const { return is == kind::word || is == kind::quoted; }
};

std::unexpected<error> wrong(std::size_t line, std::string_view problem) {
  return fail(failure::failed, fmt::format("line {}: {}", line, problem));
}

class tokenizer {
 public:
  explicit tokenizer(std::string_view text) : left_{text} {}

  result<token> next() {
    skip_space();
    if (left_.empty()) {
      return token{token::kind::end, "", line_};
    }
    if (left_.front() == '"' || left_.front() == '\'') {
      return quoted();
    }
    const bool is_mark = marks.contains(left_.front());
    const std::size_t size =
        is_mark ? 1 : std::min(left_.find_first_of("{}[],=#\"' \t\r\n\f\v"), left_.size());
    return token{is_mark ? token::kind::mark : token::kind::word, take(size), line_};
  }

 private:
  std::string take(std::size_t size) {
    std::string taken{left_.substr(0, size)};
    left_.remove_prefix(size);
    line_ += static_cast<std::size_t>(std::ranges::count(taken, '\n'));
    return taken;
  }

  void skip_space() {
    while (!left_.empty()) {
      if (left_.front() == '#') {
        take(std::min(left_.find('\n'), left_.size()));
      } else if (std::isspace(static_cast<unsigned char>(left_.front())) != 0) {
        take(1);
      } else {
        return;
      }
    }
  }

  // In double quotes, a backslash stands before a quote or a backslash that is meant.
  result<token> quoted() {
    const std::size_t line = line_;
    const char quote = take(1).front();
    std::string text;
    while (!left_.empty()) {
      const char each = take(1).front();
      if (each == quote) {
        return token{token::kind::quoted, text, line};
      }
      const bool escapes = each == '\\' && quote == '"' && !left_.empty();
      text += escapes ? take(1).front() : each;
    }
    return wrong(line, "a string has no end");
  }

  std::string_view left_;
  std::size_t line_ = 1;
};

class settings_reader {
 public:
  explicit settings_reader(std::string_view text) : tokens_{text} {}

  result<std::vector<lvm_setting>> read() {
    while (true) {
      auto name = tokens_.next();
      if (!name) {
        return std::unexpected{name.error()};
      }
      if (name->is == token::kind::end) {
        if (!sections_.empty()) {
          return wrong(name->line, fmt::format("section {} has no end", sections_.back()));
        }
        return std::move(settings_);
      }
      if (const auto taken = take(*name); !taken) {
        return std::unexpected{taken.error()};
      }
    }
  }

 private:
  // The end of a section, the beginning of one, or a setting.
  result<> take(const token &name) {
    if (name.is_mark('}') && !sections_.empty()) {
      sections_.pop_back();
      return {};
    }
    if (!name.is_text()) {
      return wrong(name.line, fmt::format("'{}' is not expected", name.text));
    }
    const auto mark = tokens_.next();
    if (!mark) {
      return std::unexpected{mark.error()};
    }
    if (mark->is_mark('{')) {
      sections_.push_back(name.text);
      return {};
    }
    if (!mark->is_mark('=')) {
      return wrong(mark->line, fmt::format("{} is neither a section nor a setting", name.text));
    }
    auto value = read_value();
    if (!value) {
      return std::unexpected{value.error()};
    }
    settings_.push_back({path_of(name.text), std::move(*value), name.line});
    return {};
  }

  result<std::string> read_value() {
    std::string value;
    bool in_array = false;
    while (true) {
      const auto part = tokens_.next();
      if (!part) {
        return std::unexpected{part.error()};
      }
      if (part->is_text()) {
        value += (value.empty() ? "" : " ") + part->text;
      } else if (part->is_mark('[') && !in_array) {
        in_array = true;
        continue;
      } else if (!in_array || !(part->is_mark(',') || part->is_mark(']'))) {
        return wrong(part->line, "a value is expected");
      }
      if (!in_array || part->is_mark(']')) {
        return value;
      }
    }
  }

  std::string path_of(const std::string &name) const {
    std::string path;
    for (const std::string &each : sections_) {
      path += each + '/';
    }
    return path + name;
  }

  tokenizer tokens_;
  std::vector<std::string> sections_; // those that have begun, outermost first
  std::vector<lvm_setting> settings_;
};

} // namespace

result<std::vector<lvm_setting>> read_lvm_settings(std::string_view text) {
  return settings_reader{text}.read();
}

} // namespace dmcache
