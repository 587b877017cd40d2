# CMAKE_UNITY_BUILD compiles several files of a target as one, in a fraction of the time; that each
# compiles without the others as well, the preset "debug" shows, and scripts/lint. Some stand alone, since
# a neighbour uses one of their private names as well. Two warnings are about what such a file is not:
# one whose private names all may see.
if(NOT CMAKE_UNITY_BUILD)
  return()
endif()

target_compile_options(dmcache_flags INTERFACE -Wno-shadow -Wno-subobject-linkage)

function(compile_alone target folder)
  if(TARGET ${target})
    list(TRANSFORM ARGN PREPEND ${PROJECT_SOURCE_DIR}/${folder}/)
    set_source_files_properties(${ARGN} TARGET_DIRECTORY ${target} PROPERTIES
      SKIP_UNITY_BUILD_INCLUSION ON)
  endif()
endfunction()

compile_alone(base base file_requests.cc file_requests_test.cc)
compile_alone(persistent-data persistent-data space_map_reader.cc transaction_manager.cc
  btree_test.cc space_map_check_test.cc transaction_manager_test.cc)
compile_alone(cache-metadata caching/metadata mapping_writer.cc root_search.cc state_reader.cc
  state_search.cc)
compile_alone(cache-tools caching/tools writeback_test.cc xml_reader_test.cc)
compile_alone(cache-policy caching/policy multi_queue_policy.cc sift_test.cc smq_test.cc)
compile_alone(cache-online-metadata caching/online-metadata online_metadata.cc
  online_metadata_resize_test.cc)
compile_alone(cache-sizing caching/sizing scaled_cache_test.cc)
compile_alone(cache-engine caching/engine data_path.cc)
compile_alone(cache-runtime caching/runtime threaded_runtime.cc cache_verification_test.cc
  memory_shortage_test.cc)
compile_alone(cache-control bin/control status_text_test.cc)
