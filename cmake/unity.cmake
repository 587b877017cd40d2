# CMAKE_UNITY_BUILD compiles several files of a target as one, in a fraction of the time; that each
# compiles without the others as well, the preset "debug" shows, and scripts/lint. So no file has a
# private name of a neighbour's. Two warnings are about what such a file is not: one whose private names
# all may see.
if(NOT CMAKE_UNITY_BUILD)
  return()
endif()

target_compile_options(dmcache_flags INTERFACE
  -Wno-shadow $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
