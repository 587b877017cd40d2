// Each allocation of a request fails in turn: either the request fails and nothing else does, or the
// process ends at once. It never hangs, and never uses what is no more.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <new>
#include <span>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "base/testing/failing_allocation.h"
#include "caching/runtime/threaded_runtime.h"

namespace dmcache {
namespace {

using operation = request::operation;

constexpr std::uint64_t block_length = 128 * sector_size;

struct asked_range {
  operation op;
  std::uint64_t offset;
  std::uint64_t length;
};

const auto out_of_memory = std::make_error_code(std::errc::not_enough_memory);

class memory_shortage_test : public testing::Test {
 protected:
  // How a process ended that asked for this: it has an exit code of its own for each way.
  enum outcome : std::uint8_t { refused = 10, unneeded, done_anyway, wrong };

  memory_shortage_test() {
    std::string name = testing::TempDir() + "/memory_shortage.XXXXXX";
    folder = ::mkdtemp(name.data());
  }
  ~memory_shortage_test() override { std::filesystem::remove_all(folder); }

  std::string make_file(const char *name, std::uint64_t size) const {
    std::string path = folder / name;
    std::ofstream{path, std::ios::trunc}.flush();
    std::filesystem::resize_file(path, size);
    return path;
  }

  static std::error_code ask(threaded_runtime &of, const asked_range &range, std::string &data) {
    request wanted;
    wanted.op = range.op;
    wanted.offset = bytes{range.offset};
    wanted.length = bytes{range.length};
    if (range.op == operation::read || range.op == operation::write) {
      wanted.data = std::as_writable_bytes(std::span{data});
    }
    return of.carry_out(wanted);
  }

  // In a process of its own: the allocation number `failing` of the request fails.
  outcome run(const asked_range &range, std::uint64_t failing) const {
    const cache_paths paths{make_file("metadata", 1 << 20), make_file("fast", 32 * block_length),
                            make_file("origin", 128 * block_length)};
    engine_options options;
    options.block_size = sectors{128};
    auto opened = threaded_runtime::open(paths, options);
    if (!opened || !(*opened)->start()) {
      return wrong;
    }
    threaded_runtime &running = **opened;
    std::string data(range.length, '1');
    std::error_code error;
    bool has_failed = false;
    std::thread asking{[&] { // as a thread of a server, which has asked for nothing yet
      fail_allocation_after(failing);
      try {
        error = ask(running, range, data);
      } catch (const std::bad_alloc &) {
        ::_exit(wrong);
      }
      has_failed = !fail_no_allocation();
    }};
    asking.join();
    // The same by another one, and all that the cache has to do with it.
    const std::string other(range.length, '2');
    data = other;
    const asked_range all{operation::write, range.offset, range.length};
    const bool is_good = !ask(running, all, data) &&
                         !ask(running, {operation::flush, 0, 0}, data) && running.clean();
    data.assign(range.length, '0');
    const bool is_read =
        !ask(running, {operation::read, range.offset, range.length}, data) && data == other;
    if (!is_good || !is_read || !running.close() || (error && error != out_of_memory)) {
      return wrong;
    }
    return error ? refused : has_failed ? done_anyway : unneeded;
  }

  // Fails each allocation in turn. How often the request was refused, and how often it ended the
  // process.
  struct counts {
    int refused = 0;
    int ended = 0;
  };
  counts fail_each(const asked_range &range) const {
    counts so_far;
    for (std::uint64_t failing = 0;; ++failing) {
      const pid_t child = ::fork();
      if (child == 0) {
        ::alarm(10);
        ::close(STDERR_FILENO); // what std::terminate has to say
        ::_exit(run(range, failing));
      }
      int status = 0;
      EXPECT_EQ(::waitpid(child, &status, 0), child);
      if (WIFSIGNALED(status)) {
        EXPECT_EQ(WTERMSIG(status), SIGABRT) << "allocation " << failing;
        ++so_far.ended;
        continue;
      }
      EXPECT_NE(WEXITSTATUS(status), wrong) << "allocation " << failing;
      so_far.refused += WEXITSTATUS(status) == refused ? 1 : 0;
      if (WEXITSTATUS(status) != refused && WEXITSTATUS(status) != done_anyway) {
        return so_far;
      }
    }
  }

  std::filesystem::path folder;
};

TEST_F(memory_shortage_test, a_write_of_a_block) {
  EXPECT_GE(fail_each({operation::write, 5 * block_length, block_length}).refused, 1);
}

TEST_F(memory_shortage_test, a_write_of_several_blocks) {
  EXPECT_GE(fail_each({operation::write, 10 * block_length, 8 * block_length}).refused, 2);
}

TEST_F(memory_shortage_test, a_read) {
  EXPECT_GE(fail_each({operation::read, 10 * block_length, 4096}).refused, 1);
}

TEST_F(memory_shortage_test, a_discard) {
  EXPECT_GE(fail_each({operation::discard, 20 * block_length, 2 * block_length}).refused, 2);
}

TEST_F(memory_shortage_test, bytes_that_are_no_sectors) {
  EXPECT_GE(fail_each({operation::write, 30 * block_length + 100, 300}).refused, 2);
  EXPECT_GE(fail_each({operation::read, 30 * block_length + 100, 300}).refused, 2);
}

} // namespace
} // namespace dmcache
