#include "caching/tools/block_pieces.h"

#include <algorithm>

namespace dmcache {

std::vector<io_request> fast_reads(std::span<const block_piece> pieces, std::span<std::byte> memory,
                                   io_listener &listener) {
  std::vector<io_request> reads;
  std::size_t at = 0;
  std::uint64_t end = 0; // on the fast device, of the last read
  for (const block_piece &each : pieces) {
    if (!reads.empty() && end == each.fast) {
      std::span<std::byte> &last = reads.back().data;
      last = {last.data(), last.size() + each.length};
    } else {
      reads.push_back({io_request::operation::read, bytes{each.fast},
                       memory.subspan(at, each.length), &listener, 0});
    }
    at += each.length;
    end = each.fast + each.length;
  }
  return reads;
}

std::vector<block_piece> block_pieces::next(std::uint64_t room, const told_beyond &beyond) {
  std::vector<block_piece> pieces;
  const std::uint64_t size = geometry_.block_size.value();
  const std::uint64_t origin_end = geometry_.origin_end.value();
  while (!is_done() && room > 0) {
    const auto &[origin, cached_in] = blocks_[at_];
    const std::uint64_t begin = origin.value() * size;
    const std::uint64_t fast = cached_in.value() * size;
    const bool is_on_origin = origin.value() <= origin_end / size && begin < origin_end;
    if (!is_on_origin || fast + size > geometry_.fast_end.value()) {
      beyond(at_, is_on_origin, bytes{is_on_origin ? fast : begin});
      ++at_;
      continue;
    }
    const std::uint64_t whole = std::min(size, origin_end - begin);
    const std::uint64_t length = std::min(whole - cut_off_, room);
    const block_piece piece{at_, begin + cut_off_, fast + cut_off_, length};
    if (!pieces.empty() && pieces.back().origin_end() != piece.origin) {
      break;
    }
    pieces.push_back(piece);
    room -= length;
    cut_off_ += length;
    if (cut_off_ == whole) {
      ++at_;
      cut_off_ = 0;
    }
  }
  return pieces;
}

} // namespace dmcache
