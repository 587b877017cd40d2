// Items that stay where they are, and are used again.
#pragma once

#include <memory>
#include <vector>

namespace dmcache {

template <typename Item> class recycled {
 public:
  // The one that take() takes next.
  Item &next() {
    if (free_.empty()) {
      all_.push_back(std::make_unique<Item>());
      free_.push_back(all_.back().get());
    }
    return *free_.back();
  }
  // As it was given back.
  Item &take() {
    Item &taken = next();
    free_.pop_back();
    return taken;
  }
  void give_back(Item &item) { free_.push_back(&item); }
  void give_all_back() {
    free_.clear();
    for (const auto &each : all_) {
      free_.push_back(each.get());
    }
  }

  // All that there ever were, taken or not.
  const std::vector<std::unique_ptr<Item>> &all() const { return all_; }

 private:
  std::vector<std::unique_ptr<Item>> all_;
  std::vector<Item *> free_;
};

} // namespace dmcache
