# Measurements; ctest runs them tiny, so that they keep working. By hand: build/release/bench_ack --rounds 200 --dir DIR
add_executable(bench_ack ${CMAKE_SOURCE_DIR}/tests/bench/ack.c ${CMAKE_SOURCE_DIR}/tests/unit/tsdb/helper_rows.c)
target_include_directories(bench_ack PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit)
target_link_libraries(bench_ack PRIVATE tsdb)
add_test(NAME bench.ack COMMAND bench_ack --rounds 2)
set_tests_properties(bench.ack PROPERTIES TIMEOUT 120)

# By hand: build/release/bench_values --rounds 2000
add_executable(bench_values ${CMAKE_SOURCE_DIR}/tests/bench/values.c)
target_link_libraries(bench_values PRIVATE tsdb)
add_test(NAME bench.values COMMAND bench_values --rounds 2)
set_tests_properties(bench.values PROPERTIES TIMEOUT 120)

# By hand: build/release/bench_merge --spans 400000
add_executable(bench_merge ${CMAKE_SOURCE_DIR}/tests/bench/merge.c)
target_link_libraries(bench_merge PRIVATE tsdb)
add_test(NAME bench.merge COMMAND bench_merge)
set_tests_properties(bench.merge PROPERTIES TIMEOUT 120)

# By hand: build/release/bench_replay --samples 10000000
add_executable(bench_replay ${CMAKE_SOURCE_DIR}/tests/bench/replay.c)
target_link_libraries(bench_replay PRIVATE tsdb)
add_test(NAME bench.replay COMMAND bench_replay)
set_tests_properties(bench.replay PROPERTIES TIMEOUT 120)

# By hand: build/release/bench_label_values --series 200000
add_executable(bench_label_values ${CMAKE_SOURCE_DIR}/tests/bench/label_values.c)
target_link_libraries(bench_label_values PRIVATE tsdb)
add_test(NAME bench.label_values COMMAND bench_label_values)
set_tests_properties(bench.label_values PROPERTIES TIMEOUT 120)

# Through the real decoder and stage. By hand: see the head of each file.
add_library(bench_frames OBJECT ${CMAKE_SOURCE_DIR}/tests/bench/bench_frames.c)
target_link_libraries(bench_frames PRIVATE collector)
foreach(name IN ITEMS span_questions trace_by_id slo_windows logs)
    add_executable(bench_${name} ${CMAKE_SOURCE_DIR}/tests/bench/${name}.c $<TARGET_OBJECTS:bench_frames>)
    target_link_libraries(bench_${name} PRIVATE collector query)
    add_test(NAME bench.${name} COMMAND bench_${name})
    set_tests_properties(bench.${name} PROPERTIES TIMEOUT 120)
endforeach()

# By hand: build/release/bench_ledger_book --rows 2000000; bench_budget_check --port P beside a server that takes rows.
add_executable(bench_ledger_book ${CMAKE_SOURCE_DIR}/tests/bench/ledger_book.c)
target_link_libraries(bench_ledger_book PRIVATE detectors)
add_test(NAME bench.ledger_book COMMAND bench_ledger_book)
set_tests_properties(bench.ledger_book PROPERTIES TIMEOUT 120)
add_executable(bench_budget_check ${CMAKE_SOURCE_DIR}/tests/bench/budget_check.c)
target_link_libraries(bench_budget_check PRIVATE base)

# By hand: build/release/bench_tokens --events 10000000 --open 100000
add_executable(bench_tokens ${CMAKE_SOURCE_DIR}/tests/bench/tokens.c)
target_link_libraries(bench_tokens PRIVATE collector)
add_test(NAME bench.tokens COMMAND bench_tokens)
set_tests_properties(bench.tokens PROPERTIES TIMEOUT 120)

# The producer of `./dev long kafka_tokens`.
add_executable(bench_kafka_tokens ${CMAKE_SOURCE_DIR}/tests/bench/kafka_tokens.c)
target_link_libraries(bench_kafka_tokens PRIVATE base PkgConfig::rdkafka)

# By hand: see the head of the file.
add_executable(bench_train ${CMAKE_SOURCE_DIR}/tests/bench/train.c)
target_sources(bench_train PRIVATE $<TARGET_OBJECTS:helper_model>)
target_include_directories(bench_train PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit)
target_link_libraries(bench_train PRIVATE gpu)
add_test(NAME bench.train COMMAND bench_train)
set_tests_properties(bench.train PROPERTIES TIMEOUT 120)
# By hand: build/faults/bench_grounding_load --rounds 40 --dir DIR; --eager is its negative control.
add_executable(bench_grounding_load ${CMAKE_SOURCE_DIR}/tests/bench/grounding_load.c $<TARGET_OBJECTS:bench_frames>)
target_link_libraries(bench_grounding_load PRIVATE collector detectors)
add_test(NAME bench.grounding_load COMMAND bench_grounding_load)
set_tests_properties(bench.grounding_load PROPERTIES TIMEOUT 120)

# By hand: build/release/bench_redact --rounds 20 --frames DIR/otlp_spans.frames
add_executable(bench_redact ${CMAKE_SOURCE_DIR}/tests/bench/redact.c $<TARGET_OBJECTS:bench_frames>)
target_link_libraries(bench_redact PRIVATE collector)
add_test(NAME bench.redact COMMAND bench_redact)
set_tests_properties(bench.redact PROPERTIES TIMEOUT 120)
