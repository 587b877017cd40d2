// A block device, or a file, as a target.
#pragma once

#include <string>

#include "base/file_descriptor.h"
#include "functional-tests/exerciser/target.h"

namespace dmcache::exerciser {

class device_target final : public target {
 public:
  explicit device_target(const std::string &path);

  bytes size() const override { return size_; }
  void carry_out(std::span<operation> batch) override;

 private:
  bool perform(const operation &io) const;

  file_descriptor file_;
  bytes size_;
  bool is_block_device_ = false;
};

} // namespace dmcache::exerciser
