# find_package(tapir) after `cmake --install`: headers under include/tapir, target tapir::tapir.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS tapir EXPORT tapir-targets)
install(DIRECTORY framework protocols DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tapir
        FILES_MATCHING PATTERN "*.hpp")
install(EXPORT tapir-targets NAMESPACE tapir:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/tapir)
configure_package_config_file(cmake/tapir-config.cmake.in ${PROJECT_BINARY_DIR}/tapir-config.cmake
    INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/tapir)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tapir-config-version.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tapir-config.cmake ${PROJECT_BINARY_DIR}/tapir-config-version.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/tapir)
