// Where a command line says that metadata are to be written.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/device.h"
#include "base/opened_file.h"
#include "base/pending_file.h"
#include "base/result.h"

namespace dmcache {

// A device or file that exists; a file that doesn't, which will be made, complete or not at all; or
// standard output, which gets the metadata once they are complete.
class metadata_output {
 public:
  // Looks what `part` names; "-" is standard output. Nothing is opened for writing, made or locked.
  // Fails with failure::environment if there can be no such output; with failure::usage if it is to
  // be a part of what isn't there; and with failure::failed if something else than metadata stands
  // there, unless `force`.
  static result<metadata_output> find(const device_part &part, bool force);

  // How large it is, if it is there and that is known.
  std::optional<bytes> size() const { return size_; }

  // What is there is open already, for writing: by whoever reads another part of it.
  void use(opened_file file) { opened_ = std::move(file); }

  // Opens it. If it is to be made, it gets `size`, and is all zero.
  result<std::unique_ptr<device>> open(bytes size);

  // Requires that the device was closed. What was made stands durably under its name then, or was
  // written to standard output.
  result<> commit();

 private:
  enum class kind : std::uint8_t { there, to_be_made, standard_output };

  metadata_output(kind of, device_part part, std::optional<bytes> size = {})
      : kind_{of}, part_{std::move(part)}, size_{size} {}

  kind kind_;
  device_part part_;
  std::optional<bytes> size_;
  std::optional<opened_file> opened_;
  std::optional<pending_file> made_; // once it is open
};

} // namespace dmcache
