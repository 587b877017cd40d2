// Makes calls of the C library fail in the program that preloads this. What goes wrong is said by
// the environment:
//
//   FAULTY_CALL=NAME     of which function: see `names`
//   FAULTY_AT=N          the N-th call, from 1; 0 for none
//   FAULTY_AS=ERRNO      how it fails, or "short": it transfers less than it was asked to
//   FAULTY_FROM_THEN_ON=1   all later calls of this function fail, too
//   FAULTY_QUEUE=NAME    by what asynchronous I/O can be done: aio or waiting
//   FAULTY_COUNTS=FILE   is told at the end which functions were called how often
//
// "malloc" is that of much memory alone: what is little, a process has already.
//
// "completion" is what ends in libaio's queue: a transfer that was carried out, and is said to have
// failed, or to have been shorter.

#include <dlfcn.h>
#include <fcntl.h>
#include <libaio.h>
#include <liburing.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

extern "C" void *__libc_malloc(std::size_t size); // NOLINT: the C library's name

namespace {

constexpr std::array<std::string_view, 19> names{
    "open",      "read",  "write",     "pread",      "pwrite", "fsync",  "fdatasync",
    "ftruncate", "lseek", "fallocate", "rename",     "linkat", "unlink", "mmap",
    "poll",      "flock", "io_submit", "completion", "malloc"};
constexpr std::size_t shortest =
    512; // bytes of a transfer that is cut short: direct I/O goes on from there
constexpr std::size_t much_memory = 4096;

std::array<std::atomic<unsigned long>, names.size()> counts{};

struct plan {
  std::size_t call = names.size();
  unsigned long at = 0;
  int reason = 0;
  bool is_short = false;
  bool lasts = false;

  plan() {
    const auto text = [](const char *name) {
      const char *value = std::getenv(name);
      return std::string_view{value == nullptr ? "" : value};
    };
    for (std::size_t i = 0; i < names.size(); ++i) {
      call = names[i] == text("FAULTY_CALL") ? i : call;
    }
    at = std::strtoul(text("FAULTY_AT").data(), nullptr, 10);
    is_short = text("FAULTY_AS") == "short";
    reason = std::atoi(text("FAULTY_AS").data());
    lasts = !text("FAULTY_FROM_THEN_ON").empty();
  }
};

const plan &planned() {
  static const plan made;
  return made;
}

constexpr std::size_t index_of(std::string_view name) {
  std::size_t i = 0;
  while (names[i] != name) {
    ++i;
  }
  return i;
}

// Counts a call, and says whether it is to go wrong.
bool goes_wrong(std::size_t call) {
  const unsigned long ordinal = ++counts[call];
  const plan &wanted = planned();
  return call == wanted.call && wanted.at != 0 &&
         (ordinal == wanted.at || (wanted.lasts && ordinal > wanted.at));
}

bool fails(std::size_t call) {
  if (!goes_wrong(call)) {
    return false;
  }
  errno = planned().reason;
  return true;
}

// Calls a function that transfers `size` bytes, or fewer if that is wanted.
template <typename Call> ssize_t transfer(std::size_t call, std::size_t size, Call carry_out) {
  if (!goes_wrong(call)) {
    return carry_out(size);
  }
  if (planned().is_short) {
    return carry_out(size > shortest ? shortest : size);
  }
  errno = planned().reason;
  return -1;
}

template <typename Function> Function *real(const char *name) {
  return reinterpret_cast<Function *>(::dlsym(RTLD_NEXT, name)); // NOLINT: what dlsym gives
}

bool has_queue(std::string_view wanted) {
  const char *named = std::getenv("FAULTY_QUEUE");
  return named == nullptr || named == wanted;
}

// When all is over, since a program's last writes count as well.
struct counts_teller {
  ~counts_teller() {
    const char *path = std::getenv("FAULTY_COUNTS");
    const int file = path == nullptr ? -1
                                     : real<int(const char *, int, ...)>("open")(
                                           path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    for (std::size_t i = 0; file >= 0 && i < names.size(); ++i) {
      ::dprintf(file, "%s %lu\n", names[i].data(), counts[i].load());
    }
  }
} const tells_counts;

} // namespace

// NOLINTBEGIN(cert-dcl50-cpp,*-vararg,readability-inconsistent-declaration-parameter-name)
#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED int open(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const unsigned mode = (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(more, unsigned) : 0;
  va_end(more);
  static auto *const next = real<int(const char *, int, ...)>("open");
  return fails(index_of("open")) ? -1 : next(path, flags, mode);
}

EXPORTED ssize_t read(int file, void *into, size_t size) {
  static auto *const next = real<ssize_t(int, void *, size_t)>("read");
  return transfer(index_of("read"), size, [&](size_t count) { return next(file, into, count); });
}

EXPORTED ssize_t write(int file, const void *from, size_t size) {
  static auto *const next = real<ssize_t(int, const void *, size_t)>("write");
  return transfer(index_of("write"), size, [&](size_t count) { return next(file, from, count); });
}

EXPORTED ssize_t pread(int file, void *into, size_t size, off_t offset) {
  static auto *const next = real<ssize_t(int, void *, size_t, off_t)>("pread");
  return transfer(index_of("pread"), size,
                  [&](size_t count) { return next(file, into, count, offset); });
}

EXPORTED ssize_t pwrite(int file, const void *from, size_t size, off_t offset) {
  static auto *const next = real<ssize_t(int, const void *, size_t, off_t)>("pwrite");
  return transfer(index_of("pwrite"), size,
                  [&](size_t count) { return next(file, from, count, offset); });
}

EXPORTED int fsync(int file) {
  static auto *const next = real<int(int)>("fsync");
  return fails(index_of("fsync")) ? -1 : next(file);
}

EXPORTED int fdatasync(int file) {
  static auto *const next = real<int(int)>("fdatasync");
  return fails(index_of("fdatasync")) ? -1 : next(file);
}

EXPORTED int ftruncate(int file, off_t size) noexcept {
  static auto *const next = real<int(int, off_t)>("ftruncate");
  return fails(index_of("ftruncate")) ? -1 : next(file, size);
}

EXPORTED off_t lseek(int file, off_t offset, int whence) noexcept {
  static auto *const next = real<off_t(int, off_t, int)>("lseek");
  return fails(index_of("lseek")) ? -1 : next(file, offset, whence);
}

EXPORTED int fallocate(int file, int mode, off_t offset, off_t size) {
  static auto *const next = real<int(int, int, off_t, off_t)>("fallocate");
  return fails(index_of("fallocate")) ? -1 : next(file, mode, offset, size);
}

EXPORTED int rename(const char *from, const char *to) noexcept {
  static auto *const next = real<int(const char *, const char *)>("rename");
  return fails(index_of("rename")) ? -1 : next(from, to);
}

EXPORTED int linkat(int from_folder, const char *from, int to_folder, const char *to,
                    int flags) noexcept {
  static auto *const next = real<int(int, const char *, int, const char *, int)>("linkat");
  return fails(index_of("linkat")) ? -1 : next(from_folder, from, to_folder, to, flags);
}

EXPORTED int unlink(const char *path) noexcept {
  static auto *const next = real<int(const char *)>("unlink");
  return fails(index_of("unlink")) ? -1 : next(path);
}

EXPORTED void *mmap(void *at, size_t size, int protection, int flags, int file,
                    off_t offset) noexcept {
  static auto *const next = real<void *(void *, size_t, int, int, int, off_t)>("mmap");
  return fails(index_of("mmap")) ? MAP_FAILED : next(at, size, protection, flags, file, offset);
}

EXPORTED int poll(pollfd *files, nfds_t count, int timeout) {
  static auto *const next = real<int(pollfd *, nfds_t, int)>("poll");
  return fails(index_of("poll")) ? -1 : next(files, count, timeout);
}

#pragma GCC diagnostic ignored "-Wshadow" // by the function of the structure of that name
EXPORTED int flock(int file, int operation) noexcept {
  static auto *const next = real<int(int, int)>("flock");
  return fails(index_of("flock")) ? -1 : next(file, operation);
}

EXPORTED void *malloc(size_t size) noexcept {
  return size >= much_memory && fails(index_of("malloc")) ? nullptr : __libc_malloc(size);
}

EXPORTED int io_uring_queue_init(unsigned entries, io_uring *ring, unsigned flags) {
  static auto *const next = real<int(unsigned, io_uring *, unsigned)>("io_uring_queue_init");
  return has_queue("uring") ? next(entries, ring, flags) : -ENOSYS;
}

EXPORTED int io_setup(int depth, io_context_t *context) {
  static auto *const next = real<int(int, io_context_t *)>("io_setup");
  return has_queue("aio") ? next(depth, context) : -ENOSYS;
}

EXPORTED int io_submit(io_context_t context, long count, iocb **requests) {
  static auto *const next = real<int(io_context_t, long, iocb **)>("io_submit");
  return goes_wrong(index_of("io_submit")) ? -planned().reason : next(context, count, requests);
}

EXPORTED int io_getevents(io_context_t context, long least, long most, io_event *events,
                          timespec *timeout) {
  static auto *const next =
      real<int(io_context_t, long, long, io_event *, timespec *)>("io_getevents");
  const int count = next(context, least, most, events, timeout);
  for (int i = 0; i < count; ++i) {
    unsigned long &transferred = events[i].res;
    if (events[i].obj->aio_lio_opcode == IO_CMD_POLL || !goes_wrong(index_of("completion"))) {
      continue;
    }
    if (!planned().is_short) {
      transferred = static_cast<unsigned long>(-static_cast<long>(planned().reason));
    } else if (static_cast<long>(transferred) > static_cast<long>(shortest)) {
      transferred = shortest;
    }
  }
  return count;
}
// NOLINTEND(cert-dcl50-cpp,*-vararg,readability-inconsistent-declaration-parameter-name)
