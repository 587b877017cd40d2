# Every header compiles alone. Where a header has a .cc file of its own, that includes it first, which
# functional-tests/rules_test.py sees to; what is compiled here are the others. Like the files of a target
# alone, that is seen to by the preset "debug".
if(CMAKE_UNITY_BUILD OR DMCACHE_SANITIZE OR DMCACHE_FUZZ)
  return()
endif()

set(sources "")
foreach(folder base persistent-data caching bin bench functional-tests)
  file(GLOB_RECURSE headers RELATIVE ${PROJECT_SOURCE_DIR} CONFIGURE_DEPENDS
    ${PROJECT_SOURCE_DIR}/${folder}/*.h)
  foreach(header ${headers})
    string(REGEX REPLACE "\\.h$" ".cc" own ${header})
    if(NOT EXISTS ${PROJECT_SOURCE_DIR}/${own})
      file(CONFIGURE OUTPUT headers/${own} CONTENT "#include \"${header}\"\n")
      list(APPEND sources ${PROJECT_BINARY_DIR}/headers/${own})
    endif()
  endforeach()
endforeach()
add_library(headers OBJECT ${sources})
target_link_libraries(headers PRIVATE dmcache_flags Boost::program_options)
target_compile_options(headers PRIVATE -O0)
