# install_with_paths(<template> <destination>): installs a file that names the programs by their
# path, as @sbin@. That is known for sure only when the prefix is, at the time of installation.
function(install_with_paths template destination)
  cmake_path(ABSOLUTE_PATH template BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}")
  install(CODE "
    set(prefix \"\${CMAKE_INSTALL_PREFIX}\")
    cmake_path(ABSOLUTE_PATH prefix NORMALIZE)
    set(sbin \"${CMAKE_INSTALL_SBINDIR}\")
    cmake_path(ABSOLUTE_PATH sbin BASE_DIRECTORY \"\${prefix}\" NORMALIZE)
    set(file \"${destination}\")
    cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY \"\${prefix}\" NORMALIZE)
    message(STATUS \"Installing: \$ENV{DESTDIR}\${file}\")
    configure_file(\"${template}\" \"\$ENV{DESTDIR}\${file}\" @ONLY)
    list(APPEND CMAKE_INSTALL_MANIFEST_FILES \"\${file}\")")
endfunction()
