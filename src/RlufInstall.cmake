# cmake --install: the program, inputs and job scripts to copy, and a modulefile. The tree may be moved afterwards; the
# libraries of the system stay where they are (CMAKE_INSTALL_RPATH_USE_LINK_PATH).
include(GNUInstallDirs)
install(TARGETS rluf)
install(DIRECTORY inputs jobs DESTINATION ${CMAKE_INSTALL_DATADIR}/rluf USE_SOURCE_PERMISSIONS
        PATTERN setup.sh EXCLUDE PATTERN quickstart.sh EXCLUDE PATTERN gguf_to_hf.py EXCLUDE)
install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DATADIR}/rluf)

set(RLUF_BUILT_WITH "GCC ${CMAKE_CXX_COMPILER_VERSION}, HDF5 ${HDF5_VERSION}, Kokkos ${Kokkos_VERSION}")
set(RLUF_DEPENDS_ON "")
foreach(module IN LISTS RLUF_MODULES)
  string(APPEND RLUF_DEPENDS_ON "depends_on(\"${module}\")\n")
endforeach()
configure_file(modules/rluf.lua.in modulefile.lua @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/modulefile.lua DESTINATION ${CMAKE_INSTALL_DATADIR}/modulefiles/rluf
        RENAME ${PROJECT_VERSION}.lua)
