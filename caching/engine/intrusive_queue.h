// A queue of things that hold the link to the next one themselves: joining it allocates nothing.
#pragma once

#include <utility>

namespace dmcache {

// Of what has a link, in which it is in one queue at a time.
template <typename T, T *T::*link = &T::next> class intrusive_queue {
 public:
  bool empty() const { return head_ == nullptr; }
  T *front() const { return head_; }

  void push(T &added) {
    added.*link = nullptr;
    (head_ == nullptr ? head_ : tail_->*link) = &added;
    tail_ = &added;
  }

  void push_front(T &added) {
    added.*link = head_;
    tail_ = head_ == nullptr ? &added : tail_;
    head_ = &added;
  }

  // The first one; none if it is empty.
  T *pop() {
    T *first = head_;
    if (first != nullptr) {
      head_ = first->*link;
      first->*link = nullptr;
    }
    return first;
  }

  // All of them, in a queue of their own.
  intrusive_queue take_all() { return std::exchange(*this, {}); }

 private:
  T *head_ = nullptr;
  T *tail_ = nullptr; // if not empty
};

} // namespace dmcache
