// How the lines of the kinds of traces are read.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "base/named_values.h"
#include "base/result.h"
#include "caching/replay/trace.h"

namespace dmcache {

enum class trace_format : std::uint8_t { csv, blkparse, fio, biosnoop };

inline constexpr named_values<trace_format, 4> trace_formats{
    {{trace_format::csv, "csv"},
     {trace_format::blkparse, "blkparse"},
     {trace_format::fio, "fio"},
     {trace_format::biosnoop, "biosnoop"}}};

// What a line says.
struct trace_line {
  enum class kind : std::uint8_t { nothing, request, discard }; // nothing: no I/O on data

  kind says = kind::nothing;
  trace_request request{};   // of a request
  std::string_view device{}; // a part of the line; empty if the format doesn't name devices
};

class trace_parser {
 public:
  trace_parser() = default;
  trace_parser(const trace_parser &) = delete;
  trace_parser &operator=(const trace_parser &) = delete;
  virtual ~trace_parser() = default;

  // Takes the lines in their order. Fails with failure::failed, and a text that says what is
  // expected.
  virtual result<trace_line> parse(std::string_view line) = 0;

  // Do the lines come in the order of their times? What several CPUs have seen isn't written so.
  virtual bool is_in_order() const { return true; }
};

// Each kind of trace: how a line is recognized that shows the format, and what reads all lines.

// Lines "time,op,lba,size", as in "12.5,R,2048,4096": time in seconds, R or W, the first sector of
// 512 bytes, and the number of bytes. The first line may name the columns.
bool is_line_of_csv(std::string_view line);
std::unique_ptr<trace_parser> make_csv_parser();

// The default output of blkparse, of which those events count whose action is `event`.
bool is_line_of_blkparse(std::string_view line);
std::unique_ptr<trace_parser> make_blkparse_parser(char event);

// What fio writes by write_iolog, of version 2 or 3.
bool is_line_of_fio(std::string_view line);
std::unique_ptr<trace_parser> make_fio_parser();

// The output of biosnoop, that of BCC or of libbpf-tools.
bool is_line_of_biosnoop(std::string_view line);
std::unique_ptr<trace_parser> make_biosnoop_parser();

} // namespace dmcache
