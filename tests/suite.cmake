# Tests that are not C programs: lints, proofs by killing, end-to-end, the page.
find_program(PYTHON3 python3 REQUIRED)
add_test(NAME lint.layers COMMAND ${PYTHON3} ${CMAKE_SOURCE_DIR}/tools/check_layers.py ${CMAKE_SOURCE_DIR})
add_test(NAME lint.layers_can_fail COMMAND ${PYTHON3} ${CMAKE_SOURCE_DIR}/tools/check_layers.py --self-test)
add_test(NAME lint.format COMMAND bash ${CMAKE_SOURCE_DIR}/tools/check_format.sh)
add_test(NAME lint.tidy COMMAND bash ${CMAKE_SOURCE_DIR}/tools/check_tidy.sh ${CMAKE_BINARY_DIR})
set_tests_properties(lint.tidy PROPERTIES TIMEOUT 1500)
