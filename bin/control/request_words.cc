#include "bin/control/request_words.h"

#include <utility>

namespace dmcache {

result<std::vector<std::string>> words_of(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  for (const char each : line) {
    if (each != ' ' && (each < '!' || each > '~')) {
      return fail(failure::usage, "a request is words of printable characters");
    }
    if (each != ' ') {
      word += each;
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, {}));
    }
  }
  if (!word.empty()) {
    words.push_back(std::move(word));
  }
  return words;
}

} // namespace dmcache
