#include "base/worker_threads.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <future>

#include <gmock/gmock.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

TEST(worker_threads_test, carry_out_all_tasks) {
  auto workers = worker_threads::start(3);
  ASSERT_THAT(workers, succeeds());
  std::vector<std::future<int>> numbers;
  for (int i = 0; i < 100; ++i) {
    std::packaged_task<int()> task{[i] { return i; }};
    numbers.push_back(task.get_future());
    (*workers)->add(std::move(task));
  }
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(numbers[static_cast<std::size_t>(i)].get(), i);
  }
}

TEST(worker_threads_test, work_at_a_time) {
  std::promise<void> first;
  std::promise<void> second;
  const std::shared_future<void> both{second.get_future()};
  auto workers = worker_threads::start(2);
  ASSERT_THAT(workers, succeeds());
  (*workers)->add([&] {
    first.set_value();
    both.wait();
  });
  (*workers)->add([&] {
    first.get_future().wait();
    second.set_value();
  });
  both.wait();
}

// In a process of its own, whose limit it is: without room for stacks there are no more threads.
TEST(worker_threads_test, that_cannot_all_be_made_are_an_error_and_nobody_hangs) {
#ifdef DMCACHE_SANITIZED
  GTEST_SKIP() << "the sanitizers need more room for themselves than the limit leaves";
#endif
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limited{256U << 20, 256U << 20};
    ::setrlimit(RLIMIT_AS, &limited);
    const auto made = worker_threads::start(1000);
    const bool is_told = !made && made.error().kind == failure::environment &&
                         made.error().message.starts_with("can't start threads: ");
    ::_exit(is_told ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

} // namespace
} // namespace dmcache
