# rluf_test(ROOM UNIT [RANKS n ...] [LABELS label ...]): tests/ROOM/UNIT_test.cpp against the library rluf_ROOM.
# RANKS: registered once for each number of ranks under mpirun; without it the program runs alone.
# Every program has harness/main.cpp: results of all ranks are combined, no test executed is a failure.
set(RLUF_MPIRUN ${MPIEXEC_EXECUTABLE} --oversubscribe --allow-run-as-root --bind-to none)
function(rluf_test room unit)
  cmake_parse_arguments(TEST "" "TIMEOUT" "RANKS;LABELS" ${ARGN})
  set(target ${room}_${unit}_test)
  if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${unit}_test.cpp)
    message(WARNING "tests/${room}/${unit}_test.cpp is missing")
    return()
  endif()
  add_executable(${target} ${unit}_test.cpp)
  target_link_libraries(${target} PRIVATE rluf_${room} rluf_test_main GTest::gmock)
  if(NOT TEST_TIMEOUT)
    set(TEST_TIMEOUT 300) # a guard against hangs, not a limit of speed
    if(RLUF_SANITIZE)
      set(TEST_TIMEOUT 1800)
    endif()
  endif()
  # Files of their own, since several people test on one machine; a rank that waits leaves its core to who works.
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/Testing)
  set(environment "TEST_TMPDIR=${PROJECT_BINARY_DIR}/Testing" OMPI_MCA_mpi_yield_when_idle=1)
  if(NOT TEST_RANKS)
    add_test(NAME ${room}.${unit} COMMAND ${target})
    set_tests_properties(${room}.${unit} PROPERTIES TIMEOUT ${TEST_TIMEOUT} LABELS "${room};${TEST_LABELS}"
                         ENVIRONMENT "${environment}")
  endif()
  foreach(ranks ${TEST_RANKS})
    set(name ${room}.${unit}/${ranks})
    add_test(NAME ${name} COMMAND ${RLUF_MPIRUN} -n ${ranks} $<TARGET_FILE:${target}>)
    set_tests_properties(${name} PROPERTIES TIMEOUT ${TEST_TIMEOUT} PROCESSORS ${ranks} LABELS "${room};${TEST_LABELS}"
                         ENVIRONMENT "${environment};OMP_NUM_THREADS=1")
  endforeach()
endfunction()

# rluf_oracle_test(ROOM NAME [ARGS ...]): runs tests/ROOM/NAME.py with the interpreter of .deps/oracle (transformers,
# tokenizers, h5py, scipy, sklearn from PyPI); the environment variable RLUF names the executable.
function(rluf_oracle_test room script)
  cmake_parse_arguments(TEST "" "TIMEOUT" "ARGS" ${ARGN})
  if(NOT TEST_TIMEOUT)
    set(TEST_TIMEOUT 600)
  endif()
  set(python ${PROJECT_SOURCE_DIR}/.deps/oracle/bin/python)
  add_test(NAME ${room}.${script} COMMAND ${python} ${CMAKE_CURRENT_SOURCE_DIR}/${script}.py ${TEST_ARGS})
  set_tests_properties(${room}.${script} PROPERTIES TIMEOUT ${TEST_TIMEOUT} LABELS "${room};oracle" SKIP_RETURN_CODE 77
    ENVIRONMENT "RLUF=$<TARGET_FILE:rluf>;RLUF_BUILD=${CMAKE_BINARY_DIR};RLUF_SOURCE=${PROJECT_SOURCE_DIR};OMP_NUM_THREADS=2")
endfunction()
