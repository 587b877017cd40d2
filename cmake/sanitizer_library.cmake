# sanitizer_library(VARIABLE): the path of the compiler's shared library with what DMCACHE_SANITIZE says.
function(sanitizer_library variable)
  set(name asan)
  if(DMCACHE_SANITIZE STREQUAL "thread")
    set(name tsan)
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    set(name clang_rt.${name}-${CMAKE_SYSTEM_PROCESSOR})
  endif()
  execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-file-name=lib${name}.so
    OUTPUT_VARIABLE path OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  set(${variable} ${path} PARENT_SCOPE)
endfunction()
