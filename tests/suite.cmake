# Tests that are not C programs: lints, proofs by killing, end-to-end, the page.
include(${CMAKE_SOURCE_DIR}/tests/kill/kill.cmake)
include(${CMAKE_SOURCE_DIR}/tests/faults/faults.cmake)
include(${CMAKE_SOURCE_DIR}/tests/bench/bench.cmake)
find_program(PYTHON3 python3 REQUIRED)
add_test(NAME lint.layers COMMAND ${PYTHON3} ${CMAKE_SOURCE_DIR}/tools/check_layers.py ${CMAKE_SOURCE_DIR})
add_test(NAME lint.layers_can_fail COMMAND ${PYTHON3} ${CMAKE_SOURCE_DIR}/tools/check_layers.py --self-test)
add_test(NAME lint.format COMMAND bash ${CMAKE_SOURCE_DIR}/tools/check_format.sh)
add_test(NAME lint.tidy COMMAND bash ${CMAKE_SOURCE_DIR}/tools/check_tidy.sh ${CMAKE_BINARY_DIR})
set_tests_properties(lint.tidy PROPERTIES TIMEOUT 1500)
if(TARGET telltale)
    add_test(NAME lint.configuration COMMAND bash -c "'$<TARGET_FILE:telltale>' config-reference | diff ${CMAKE_SOURCE_DIR}/docs/configuration.md -")
endif()

# End to end: the real program, real SDKs, Prometheus, webhooks, abuse, and kill -9 (node's test runner; `./dev setup test` installs it).
find_program(NODE node REQUIRED)
if(TARGET telltale AND EXISTS ${CMAKE_SOURCE_DIR}/tests/e2e/node_modules)
    # The committer that acknowledges before it commits takes the place of the real one: the proof by killing must catch it.
    add_executable(telltale_ack_early ${CMAKE_SOURCE_DIR}/cli/main.c ${CMAKE_SOURCE_DIR}/tsdb/committer.c)
    target_compile_definitions(telltale_ack_early PRIVATE TELLTALE_FAULT_ACK_EARLY)
    target_link_libraries(telltale_ack_early PRIVATE cli)
    foreach(name IN ITEMS sdk prometheus webhook abuse access shutdown tls disk cardinality backup prices agents conditions grounding)
        add_test(NAME e2e.${name} COMMAND ${NODE} --test --test-reporter=spec ${CMAKE_SOURCE_DIR}/tests/e2e/${name}.test.mjs)
        set_tests_properties(e2e.${name} PROPERTIES TIMEOUT 300 ENVIRONMENT "TELLTALE=$<TARGET_FILE:telltale>")
    endforeach()
    add_test(NAME e2e.kill COMMAND ${NODE} ${CMAKE_SOURCE_DIR}/tests/e2e/kill.mjs --kills 25 --binary $<TARGET_FILE:telltale>)
    add_test(NAME e2e.kill_can_fail COMMAND ${NODE} ${CMAKE_SOURCE_DIR}/tests/e2e/kill.mjs --kills 10 --expect-loss
        --binary $<TARGET_FILE:telltale_ack_early>)
    set_tests_properties(e2e.kill e2e.kill_can_fail PROPERTIES TIMEOUT 600 RUN_SERIAL ON)
    # A real broker, its jars by Maven; skipped where there is none to be had.
    add_executable(telltale_kafka_forgets ${CMAKE_SOURCE_DIR}/cli/main.c ${CMAKE_SOURCE_DIR}/collector/kafka/kafka.c
        ${CMAKE_SOURCE_DIR}/collector/kafka/kafka_group.c)
    target_compile_definitions(telltale_kafka_forgets PRIVATE TELLTALE_FAULT_KAFKA_FORGETS)
    target_link_libraries(telltale_kafka_forgets PRIVATE cli)
    add_test(NAME e2e.kafka COMMAND ${NODE} ${CMAKE_SOURCE_DIR}/tests/e2e/kafka.mjs --messages 10000 --kills 3 --broker-kills 1
        --binary $<TARGET_FILE:telltale>)
    add_test(NAME e2e.kafka_can_fail COMMAND ${NODE} ${CMAKE_SOURCE_DIR}/tests/e2e/kafka.mjs --messages 3000 --kills 2 --broker-kills 0 --expect-twice
        --binary $<TARGET_FILE:telltale_kafka_forgets>)
    add_test(NAME e2e.kafka_access COMMAND ${NODE} ${CMAKE_SOURCE_DIR}/tests/e2e/kafka_access.mjs)
    set_tests_properties(e2e.kafka_access PROPERTIES ENVIRONMENT "TELLTALE=$<TARGET_FILE:telltale>")
    set_tests_properties(e2e.kafka e2e.kafka_can_fail e2e.kafka_access PROPERTIES TIMEOUT 600 RUN_SERIAL ON SKIP_RETURN_CODE 77)
endif()
include(${CMAKE_CURRENT_LIST_DIR}/ui/suite.cmake)

# PromQL beside Prometheus itself: 100 generated queries and, where there is one, a file of queries; and that the comparison can fail.
if(TARGET telltale)
    add_test(NAME promql.compare COMMAND ${PYTHON3} ${CMAKE_SOURCE_DIR}/tools/promql_compare/promql_compare.py
        --telltale $<TARGET_FILE:telltale> --queries ${CMAKE_SOURCE_DIR}/../shared/bench/queries.txt)
    add_test(NAME promql.compare_can_fail COMMAND ${PYTHON3} ${CMAKE_SOURCE_DIR}/tools/promql_compare/promql_compare.py
        --telltale $<TARGET_FILE:telltale> --count 40 --can-fail)
    set_tests_properties(promql.compare promql.compare_can_fail PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77)
endif()

# A backup that copies every seal makes replay skip what it did not copy: the property test must notice.
add_executable(test_backup_all_seals ${CMAKE_SOURCE_DIR}/tests/unit/tsdb/test_backup.c ${CMAKE_SOURCE_DIR}/tsdb/part_rewrite.c)
target_sources(test_backup_all_seals PRIVATE $<TARGET_OBJECTS:helper_rows>)
target_compile_definitions(test_backup_all_seals PRIVATE TELLTALE_FAULT_COPY_ALL_SEALS)
target_include_directories(test_backup_all_seals PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit)
target_link_libraries(test_backup_all_seals PRIVATE ${TELLTALE_LIBS} ${CMOCKA_LIB})
add_test(NAME faults.backup_all_seals_can_fail COMMAND test_backup_all_seals rows_sealed*)
set_tests_properties(faults.backup_all_seals_can_fail PROPERTIES PASS_REGULAR_EXPRESSION "(!= 0x|is there 0 times|are found and)")
