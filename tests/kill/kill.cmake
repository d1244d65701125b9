# Proof by SIGKILL of the store alone (the whole program's is e2e.kill). TELLTALE_KILLS=200 makes the long form.
set(kill_sources ${CMAKE_SOURCE_DIR}/tests/kill/store_writer.c ${CMAKE_SOURCE_DIR}/tests/unit/tsdb/helper_rows.c)
add_executable(store_writer ${kill_sources})
# The committer that acknowledges before it commits takes the place of the real one: the harness must find rows missing.
add_executable(store_writer_ack_early ${kill_sources} ${CMAKE_SOURCE_DIR}/tsdb/committer.c)
target_compile_definitions(store_writer_ack_early PRIVATE TELLTALE_FAULT_ACK_EARLY)
foreach(program IN ITEMS store_writer store_writer_ack_early)
    target_include_directories(${program} PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit)
    target_link_libraries(${program} PRIVATE tsdb)
endforeach()
add_test(NAME kill.store COMMAND store_writer)
add_test(NAME kill.store_can_fail COMMAND store_writer_ack_early --kills 15 --expect-loss)
set_tests_properties(kill.store kill.store_can_fail PROPERTIES TIMEOUT 600 RUN_SERIAL ON)

# SIGKILL at named places. TELLTALE_KILL_TIMES=100 makes the long form.
set(kill_point_sources ${CMAKE_SOURCE_DIR}/tests/kill/kill_points.c ${CMAKE_SOURCE_DIR}/tests/faults/fault_ledger.c
    ${CMAKE_SOURCE_DIR}/tests/faults/slice.c
    ${CMAKE_SOURCE_DIR}/tests/unit/tsdb/helper_rows.c)
add_executable(kill_points ${kill_point_sources})
add_executable(kill_points_ack_early ${kill_point_sources} ${CMAKE_SOURCE_DIR}/tsdb/committer.c)
target_compile_definitions(kill_points_ack_early PRIVATE TELLTALE_FAULT_ACK_EARLY)
foreach(program IN ITEMS kill_points kill_points_ack_early)
    target_include_directories(${program} PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit)
    target_link_libraries(${program} PRIVATE tsdb)
endforeach()
add_test(NAME kill.points COMMAND kill_points)
add_test(NAME kill.points_can_fail COMMAND kill_points_ack_early --place commit.before_write --times 4 --expect-loss)
set_tests_properties(kill.points kill.points_can_fail PROPERTIES TIMEOUT 900)
