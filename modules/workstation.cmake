# A workstation after jobs/setup.sh: its libraries are found in the system and in .deps/.
#   cmake -C modules/workstation.cmake -G Ninja -B build && cmake --build build
set(RLUF_TESTS ON CACHE BOOL "")
set(CMAKE_BUILD_TYPE Release CACHE STRING "")
