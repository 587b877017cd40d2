// Preloaded into user-mode Linux: sets a process's registers on processors that have more of them than
// its releases so far know of (AMX). The kernel here takes all of them or none (ptrace(2),
// PTRACE_SETREGSET), and user-mode Linux hands over as many bytes as it made room for, then gives up.
// What it doesn't hand over stays as it is.

#include <elf.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstddef>

namespace {

long call(int request, pid_t process, void *address, void *data) {
  return ::syscall(SYS_ptrace, request, process, address, data);
}

bool sets_extended_registers(int request, const void *address) {
  return request == PTRACE_SETREGSET &&
         reinterpret_cast<std::size_t>(address) == std::size_t{NT_X86_XSTATE};
}

long set_first_registers(pid_t process, void *address, const iovec &first) {
  static std::array<std::byte, 65536> registers;
  iovec all{registers.data(), registers.size()};
  if (const long failure = call(PTRACE_GETREGSET, process, address, &all); failure != 0) {
    return failure;
  }
  std::copy_n(static_cast<const std::byte *>(first.iov_base), std::min(first.iov_len, all.iov_len),
              registers.data());
  return call(PTRACE_SETREGSET, process, address, &all);
}

} // namespace

// The C library's ptrace(), whose first parameter has a type that va_start() must not be told. What reads a
// word gives it back by its value there (ptrace(2), "C library/kernel differences").
extern "C" [[gnu::visibility("default")]] long any_ptrace(int request, ...) noexcept
    __asm__("ptrace");
long any_ptrace(int request, ...) noexcept {
  std::va_list arguments;
  va_start(arguments, request);
  const auto process = va_arg(arguments, pid_t);
  auto *const address = va_arg(arguments, void *);
  auto *const data = va_arg(arguments, void *);
  va_end(arguments);
  if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
    long word = 0;
    const long failure = call(request, process, address, &word);
    errno = failure == 0 ? 0 : errno;
    return failure == 0 ? word : failure;
  }
  const long outcome = call(request, process, address, data);
  if (outcome != 0 && errno == EFAULT && sets_extended_registers(request, address)) {
    return set_first_registers(process, address, *static_cast<const iovec *>(data));
  }
  return outcome;
}
