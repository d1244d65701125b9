# Proofs by faults: power cuts replayed from a recording, calls and allocations that fail. Each program has a twin with a seeded defect that
# must go red. TELLTALE_STATES=1000000 makes the long form of the power cuts (tests/long).
set(faults_dir ${CMAKE_SOURCE_DIR}/tests/faults)
set(faults_common ${faults_dir}/fault_ledger.c ${faults_dir}/slice.c ${CMAKE_SOURCE_DIR}/tests/unit/tsdb/helper_rows.c)
# Without sanitizers also where the others have them: these programs put themselves in the place of malloc, write and their like, and start
# thousands of processes.
file(GLOB faults_store CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/base/*.c ${CMAKE_SOURCE_DIR}/base/*.cc ${CMAKE_SOURCE_DIR}/tsdb/*.c)
add_library(faults_store STATIC ${faults_store})
target_include_directories(faults_store PUBLIC ${CMAKE_SOURCE_DIR})
target_compile_definitions(faults_store PUBLIC _GNU_SOURCE TELLTALE_VERSION="${PROJECT_VERSION}" TELLTALE_FAULT_POINTS)
target_compile_options(faults_store PUBLIC -O1 -fno-strict-aliasing)
target_link_libraries(faults_store PUBLIC Threads::Threads PkgConfig::libxxhash PkgConfig::libzstd PkgConfig::zlib PkgConfig::yajl
    PkgConfig::yaml_0_1 PkgConfig::libcurl PkgConfig::libsodium ${SNAPPY_LIB} ${LMDB_LIB} m stdc++)
function(fault_program name)
    cmake_parse_arguments(F "" "DEFINE" "SOURCES" ${ARGN})
    add_executable(${name} ${F_SOURCES} ${faults_common})
    target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit)
    target_link_libraries(${name} PRIVATE faults_store ${CMAKE_DL_LIBS})
    if(F_DEFINE)
        target_compile_definitions(${name} PRIVATE ${F_DEFINE})
    endif()
endfunction()

set(power_cut_sources ${faults_dir}/power_cut.c ${faults_dir}/disk_model.c ${faults_dir}/record_io.c)
fault_program(power_cut SOURCES ${power_cut_sources})
# The defect takes the place of the file that has it.
fault_program(power_cut_ack_early SOURCES ${power_cut_sources} ${CMAKE_SOURCE_DIR}/tsdb/committer.c
    DEFINE TELLTALE_FAULT_ACK_EARLY)
fault_program(power_cut_no_sync SOURCES ${power_cut_sources} ${CMAKE_SOURCE_DIR}/tsdb/lmdb_env.c
    DEFINE TELLTALE_FAULT_NO_SYNC)
fault_program(power_cut_no_dir_sync SOURCES ${power_cut_sources} ${CMAKE_SOURCE_DIR}/tsdb/files.c
    DEFINE TELLTALE_FAULT_NO_DIR_SYNC)
add_test(NAME faults.power_cut COMMAND power_cut)
set_tests_properties(faults.power_cut PROPERTIES TIMEOUT 900)
foreach(defect IN ITEMS ack_early no_sync no_dir_sync)
    add_test(NAME faults.power_cut_${defect}_can_fail COMMAND power_cut_${defect} --states 300 --expect-loss)
    set_tests_properties(faults.power_cut_${defect}_can_fail PROPERTIES TIMEOUT 600)
endforeach()

# Calls to the disk that fail, and allocations that fail. TELLTALE_STEP=0 tries every n.
set(io_errors_sources ${faults_dir}/io_errors.c ${faults_dir}/fault_child.c ${faults_dir}/disk_model.c ${faults_dir}/record_io.c)
fault_program(io_errors SOURCES ${io_errors_sources})
fault_program(io_errors_no_sync SOURCES ${io_errors_sources} ${CMAKE_SOURCE_DIR}/tsdb/lmdb_env.c DEFINE TELLTALE_FAULT_NO_SYNC)
set(alloc_errors_sources ${faults_dir}/alloc_errors.c ${faults_dir}/fault_child.c ${faults_dir}/alloc_fail.c)
fault_program(alloc_errors SOURCES ${alloc_errors_sources})
# It answers before it has the memory to commit.
fault_program(alloc_errors_ack_early SOURCES ${alloc_errors_sources} ${CMAKE_SOURCE_DIR}/tsdb/committer.c
    DEFINE TELLTALE_FAULT_ACK_EARLY)
add_test(NAME faults.io_errors COMMAND io_errors)
add_test(NAME faults.io_errors_can_fail COMMAND io_errors_no_sync --step 2000 --expect-loss)
add_test(NAME faults.alloc_errors COMMAND alloc_errors)
add_test(NAME faults.alloc_errors_can_fail COMMAND alloc_errors_ack_early --expect-loss)
set_tests_properties(faults.io_errors faults.io_errors_can_fail faults.alloc_errors faults.alloc_errors_can_fail
    PROPERTIES TIMEOUT 900)

# Tail sampling of a closed day while the process is killed and the disk fails.
set(sample_faults_sources ${faults_dir}/sample_faults.c ${faults_dir}/fault_child.c ${faults_dir}/disk_model.c ${faults_dir}/record_io.c)
fault_program(sample_faults SOURCES ${sample_faults_sources})
# It chooses traces by a number of the process, so another process chooses others; it puts the old texts away before the rows that name the
# new ones are in their place; it does not sync what it has merged.
fault_program(sample_faults_anew SOURCES ${sample_faults_sources} ${CMAKE_SOURCE_DIR}/tsdb/compact_sample.c
    DEFINE TELLTALE_FAULT_SAMPLE_ANEW)
fault_program(sample_faults_texts_first SOURCES ${sample_faults_sources} ${CMAKE_SOURCE_DIR}/tsdb/part_rewrite.c
    DEFINE TELLTALE_FAULT_TEXTS_FIRST)
fault_program(sample_faults_no_sync SOURCES ${sample_faults_sources} ${CMAKE_SOURCE_DIR}/tsdb/lmdb_env.c DEFINE TELLTALE_FAULT_NO_SYNC)
add_test(NAME faults.sample_faults COMMAND sample_faults)
set_tests_properties(faults.sample_faults PROPERTIES TIMEOUT 900)
foreach(defect IN ITEMS anew texts_first no_sync)
    add_test(NAME faults.sample_faults_${defect}_can_fail COMMAND sample_faults_${defect} --step 200 --expect-wrong)
    set_tests_properties(faults.sample_faults_${defect}_can_fail PROPERTIES TIMEOUT 900)
endforeach()

# Bits that change on the disk. TELLTALE_FLIPS=100000 makes the long form (tests/long).
set(bit_flips_sources ${faults_dir}/bit_flips.c ${faults_dir}/flip_store.c ${faults_dir}/fault_child.c)
fault_program(bit_flips SOURCES ${bit_flips_sources})
# It takes the bytes of a block for what was written.
fault_program(bit_flips_no_crc SOURCES ${bit_flips_sources} ${CMAKE_SOURCE_DIR}/tsdb/part.c ${CMAKE_SOURCE_DIR}/tsdb/journal.c
    DEFINE TELLTALE_FAULT_NO_CRC)
# It gives LMDB every file, whatever is in it.
fault_program(bit_flips_no_pages SOURCES ${bit_flips_sources} ${CMAKE_SOURCE_DIR}/tsdb/lmdb_pages.c
    DEFINE TELLTALE_FAULT_NO_PAGES)
add_test(NAME faults.bit_flips COMMAND bit_flips)
add_test(NAME faults.bit_flips_no_crc_can_fail COMMAND bit_flips_no_crc --expect-wrong)
add_test(NAME faults.bit_flips_no_pages_can_fail COMMAND bit_flips_no_pages --expect-wrong)
set_tests_properties(faults.bit_flips faults.bit_flips_no_crc_can_fail faults.bit_flips_no_pages_can_fail PROPERTIES TIMEOUT 600)
