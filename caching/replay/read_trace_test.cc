#include "caching/replay/read_trace.h"

#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing/matchers.h"
#include "caching/replay/trace_lines.h"

namespace dmcache {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::Field;
using testing::HasSubstr;

auto is_request(double time, bool is_write, std::uint64_t start, std::uint64_t length) {
  return AllOf(Field("time", &trace_request::time, testing::DoubleNear(time, 1e-9)),
               Field("is_write", &trace_request::is_write, is_write),
               Field("start", &trace_request::start, sectors{start}),
               Field("length", &trace_request::length, bytes{length}));
}

class read_trace_test : public testing::Test {
 protected:
  ~read_trace_test() override { std::filesystem::remove(source_.path); }

  result<trace> read(const std::string &text) {
    std::ofstream{source_.path, std::ios::binary} << text;
    return read_trace(source_, watcher_);
  }

  trace_source source_{.path = testing::TempDir() + "/read_trace_test." +
                               testing::UnitTest::GetInstance()->current_test_info()->name()};
  progress watcher_{true};
};

TEST_F(read_trace_test, csv) {
  for (const std::string header : {"", "time,op,lba,size\n", "time,op,lba,size\r\n"}) {
    const auto found = read(header + "0.5,R,2048,4096\n1,W,0,512");
    ASSERT_THAT(found, succeeds());
    EXPECT_THAT(found->requests,
                ElementsAre(is_request(0.5, false, 2048, 4096), is_request(1, true, 0, 512)));
  }
}

TEST_F(read_trace_test, csv_has_to_be_in_order) {
  EXPECT_THAT(
      read("2,R,0,512\n1,R,0,512\n"),
      fails_with(failure::failed, EndsWith("line 2: a time before that of the line above")));
}

constexpr const char *blkparse_text =
    "Input file sda.blktrace.0 added\n"
    "  8,0    1        1     0.000000000   697  Q  WS 223490 + 8 [kjournald]\n"
    "  8,0    1        2     0.000001829   697  G  WS 223490 + 8 [kjournald]\n"
    "  8,0    1        0     0.000002000     0  m   N cfq697S / alloced\n"
    "  8,0    0        1     0.500000000   698  Q  RA 128 + 16 [a [b] c]\n"
    "  8,0    1        3     0.400000000   697  Q FWS [jbd2/sda1-8]\n"
    "  8,0    1        4     0.400000000   697  Q FWFS 64 + 8 [jbd2/sda1-8]\n"
    "  8,0    1        5     0.600000000   699  Q  DS 4096 + 1024 [fstrim]\n"
    "  8,0    1        6     0.700000000   697  A  WS 300 + 8 <- (8,1) 200\n"
    "  8,0    1        7     0.800000000   697  Q   R 36 (12 00 00 00 24 00) [udevd]\n"
    "  8,0    1        8     0.810000000   697  Q   R 36 [udevd]\n"
    "  8,0    1        9     0.900000000   697  C  WS 223490 + 8 [0]\n"
    "  8,0    1       10     0.900000000   697  C FWS 0 [0]\n"
    "  8,0    1       11     0.950000000   697  C  RA 2560 + 1 (492511940) [0]\n"
    "CPU1 (8,0):\n"
    " Reads Queued:           1,        8KiB\t Writes Queued:           2,        8KiB\n"
    "\n"
    "Throughput (R/W): 12KiB/s / 24KiB/s\n"
    "Events (8,0): 9 entries\n"
    "Skips: 0 forward (0 -   0.0%)\n";

TEST_F(read_trace_test, blkparse) {
  const auto found = read(blkparse_text);
  ASSERT_THAT(found, succeeds());
  EXPECT_THAT(found->requests,
              ElementsAre(is_request(0, true, 223490, 4096), is_request(0.4, true, 64, 4096),
                          is_request(0.5, false, 128, 8192)));
  EXPECT_EQ(found->nr_discards, 1);
}

TEST_F(read_trace_test, another_event_of_blkparse) {
  source_.event = 'C';
  const auto found = read(blkparse_text);
  ASSERT_THAT(found, succeeds());
  EXPECT_THAT(found->requests,
              ElementsAre(is_request(0.9, true, 223490, 4096), is_request(0.95, false, 2560, 512)));
}

TEST_F(read_trace_test, wrong_lines_of_blkparse_are_refused) {
  const std::string first = "  8,0    1        1     0.0   697  Q  WS 8 + 8 [a]\n";
  const auto expected = fails_with(
      failure::failed, HasSubstr("line 2: expected an event as blkparse prints it: MAJOR,MINOR CPU "
                                 "SEQUENCE TIME PID Q RWBS SECTOR + SECTORS [PROCESS]"));
  for (const std::string line :
       {"8,0 1 2 0.1 697 Q R 8 + 1", "8,0 1 2 0.1 697 Q R 8 - 1 [a]", "8,0 1 2 x 697 Q R 8 + 1 [a]",
        "8,0 1 2", "8,0 1 2 0.1 697 Q", "8,", "8,0 1 2 0.1 697 Q R 8 + 99999999999 [a]",
        "8,0 1 2 0.1 697 Q R 99999999999999999 + 1 [a]", "rubbish"}) {
    EXPECT_THAT(read(first + line + "\n"), expected) << line;
  }
  EXPECT_THAT(read(first + "8,0 1 2 0.1 697 Q X? 8 + 1 [a]"),
              fails_with(failure::failed, EndsWith("'X?' is no kind of request, as in WS")));
}

TEST_F(read_trace_test, fio_of_version_2) {
  const auto found = read("fio version 2 iolog\n/dev/a add\n/dev/a open\n/dev/a read 4096 8192\n"
                          "/dev/a wait 1500000 0\n/dev/a write 700 400\n/dev/a sync 0 0\n"
                          "/dev/a trim 0 4096\n/dev/a wait 500000 0\n/dev/a read 0 1024\n"
                          "/dev/a close\n");
  ASSERT_THAT(found, succeeds());
  EXPECT_THAT(found->requests,
              ElementsAre(is_request(0, false, 8, 8192), is_request(1.5, true, 1, 1024),
                          is_request(2, false, 0, 1024)));
  EXPECT_EQ(found->nr_discards, 1);
}

TEST_F(read_trace_test, fio_of_version_3) {
  const auto found = read("fio version 3 iolog\n16 f add\n121 f open\n127 f read 61440 4096\n"
                          "311833 f datasync 0 0\n615793 f write 880640 4096\n2449095 f close\n");
  ASSERT_THAT(found, succeeds());
  EXPECT_THAT(found->requests, ElementsAre(is_request(0.000127, false, 120, 4096),
                                           is_request(0.615793, true, 1720, 4096)));
}

TEST_F(read_trace_test, wrong_lines_of_fio_are_refused) {
  const auto refused = [&](const std::string &line, const std::string &text) {
    EXPECT_THAT(read("fio version 3 iolog\n1 f add\n" + line + "\n"),
                fails_with(failure::failed, EndsWith("line 3: " + text)));
  };
  const std::string expected =
      "expected MICROSECONDS FILE ACTION, and for I/O its OFFSET and LENGTH in bytes";
  for (const char *line : {"", "2 f read 0", "2 f read 0 512 1", "2 f read 0 -1", "2 f close 1",
                           "2 f read 99999999999999999999 512", "2 f read 0 4294967297"}) {
    refused(line, expected);
  }
  refused("f read 0 512", "'f' is no time in microseconds");
  refused("2 f wait 5 0", "'wait' is no action of fio's: read, write, trim, sync, datasync, or "
                          "wait, which version 2 alone has");
  source_.format = trace_format::fio;
  EXPECT_THAT(
      read("f read 0 512\n"),
      fails_with(failure::failed, EndsWith("line 1: 'f read 0 512' is no beginning of fio's "
                                           "log: expected \"fio version 3 iolog\", or 2")));
}

TEST_F(read_trace_test, biosnoop) {
  const auto found =
      read("Tracing block device I/O... Hit Ctrl-C to end.\n"
           "TIME(s)     COMM           PID    DISK    T SECTOR     BYTES  LAT(ms)\n"
           "0.000004    supervise      1950   xvda1   W 13092560   4096      0.74\n"
           "-0.000001   Web Content    12     xvda1   R 128        16384     0.61\n"
           "0.300000    jbd2/xvda1-8   12     xvda1   R 18446744073709551615 0 0.61\n"
           "0.200000    ?              0      xvda1   R 64         512       0.61\n"
           "^C\n");
  ASSERT_THAT(found, succeeds());
  EXPECT_THAT(found->requests, ElementsAre(is_request(0, false, 128, 16384),
                                           is_request(0.000004, true, 13092560, 4096),
                                           is_request(0.2, false, 64, 512)));
}

TEST_F(read_trace_test, biosnoop_with_other_columns) {
  const auto found = read(
      "TIME(s)     COMM           PID     DISK      T      SECTOR     BYTES   QUE(ms) LAT(ms)\n"
      "0.000000    dd             1950    sda       RA     8          4096    0.002   0.74\n"
      "0.100000    fstrim         1951    sda       DS     8          4096    0.002   0.74\n"
      "0.200000    kworker/0:1H   1951    sda       FF     0          0       0.002   0.74\n");
  ASSERT_THAT(found, succeeds());
  EXPECT_THAT(found->requests, ElementsAre(is_request(0, false, 8, 4096)));
  EXPECT_EQ(found->nr_discards, 1);
}

TEST_F(read_trace_test, wrong_lines_of_biosnoop_are_refused) {
  const std::string header = "TIME(s) COMM PID DISK T SECTOR BYTES LAT(ms)\n";
  for (const std::string line :
       {"0.1 dd 1 sda R 8 4096", "0.1 dd 1 sda X 8 4096 0.1", "0.1", "x dd 1 sda R 8 4096 0.1",
        "0.1 dd 1 sda R 18446744073709551615 512 0.1", "0.1 dd 1 sda R -8 4096 0.1"}) {
    EXPECT_THAT(
        read(header + line),
        fails_with(failure::failed, EndsWith("line 2: expected a line of biosnoop with "
                                             "TIME(s) COMM PID DISK T SECTOR BYTES LAT(ms)")))
        << line;
  }
  EXPECT_THAT(
      read("TIME(s) COMM PID DISK T BYTES\n"),
      fails_with(failure::failed, EndsWith("line 1: expected the columns of biosnoop: TIME(s) "
                                           "COMM PID DISK T SECTOR BYTES ...")));
}

TEST_F(read_trace_test, a_device_is_chosen_where_there_are_several) {
  const std::string text = "fio version 2 iolog\na read 0 512\nb read 512 512\na trim 0 512\n";
  EXPECT_THAT(read(text), fails_with(failure::failed,
                                     EndsWith("line 3: a request to b, and those above are to a: "
                                              "choose one of them by --device")));
  source_.device = "b";
  const auto found = read(text);
  ASSERT_THAT(found, succeeds());
  EXPECT_THAT(found->requests, ElementsAre(is_request(0, false, 1, 512)));
  EXPECT_EQ(found->nr_discards, 0);
  source_.device = "c";
  EXPECT_THAT(read(text),
              fails_with(failure::usage, EndsWith("no request is to c; there are some to a")));
}

TEST_F(read_trace_test, a_format_that_is_chosen_is_not_guessed) {
  source_.format = trace_format::csv;
  EXPECT_THAT(
      read("fio version 2 iolog\na read 0 512\n"),
      fails_with(failure::failed, EndsWith("line 1: 1 columns instead of time,op,lba,size")));
}

TEST_F(read_trace_test, what_is_no_trace_is_refused) {
  EXPECT_THAT(
      read("hello\nworld\n"),
      fails_with(failure::failed, EndsWith(": this looks like none of csv "
                                           "(time,op,lba,size), blkparse's output, fio's log "
                                           "and biosnoop's output: choose one by --format")));
  EXPECT_THAT(read(""), fails_with(failure::failed, HasSubstr("looks like none of")));
  EXPECT_THAT(read("time,op,lba,size\n"),
              fails_with(failure::failed, EndsWith(": there are no requests in it")));
}

TEST_F(read_trace_test, choices_that_the_format_does_not_have_are_refused) {
  source_.event = 'Q';
  EXPECT_THAT(read("0,R,0,512\n"),
              fails_with(failure::usage, HasSubstr("--event is for blkparse's output, and ")));
  source_.event = {};
  source_.device = "sda";
  EXPECT_THAT(read("0,R,0,512\n"),
              fails_with(failure::usage, EndsWith(" is csv, which names no devices")));
}

TEST_F(read_trace_test, lines_are_bounded) {
  EXPECT_THAT(read("0,R,0,512\n0,R,0," + std::string(trace_lines::max_line - 6, '0') + "\n"),
              succeeds());
  for (const std::size_t length : {trace_lines::max_line + 1, std::size_t{10'000'000}}) {
    for (const char *end : {"", "\n"}) {
      EXPECT_THAT(read("0,R,0,512\n" + std::string(length, '0') + end),
                  fails_with(failure::failed, EndsWith("line 2: longer than 4096 bytes")));
    }
  }
}

TEST_F(read_trace_test, long_traces_are_read_whole) {
  std::string text;
  for (int i = 0; i < 50000; ++i) {
    text += std::to_string(i) + ",R," + std::to_string(i * 8) + ",4096\n";
  }
  const auto found = read(text);
  ASSERT_THAT(found, succeeds());
  ASSERT_EQ(found->requests.size(), 50000);
  EXPECT_THAT(found->requests.back(), is_request(49999, false, 49999 * 8, 4096));
}

TEST_F(read_trace_test, a_zero_byte_is_no_end_of_a_line) {
  EXPECT_THAT(read(std::string{"0,R,0,512\0,\n", 12}), fails_with(failure::failed));
}

} // namespace
} // namespace dmcache
