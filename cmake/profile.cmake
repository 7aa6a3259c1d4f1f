# Profile-guided optimisation. cmake/release.profdata says which paths of the library were taken how often while the
# benchmarks ran; clang inlines and lays out by it. ./run train makes it anew, and need not for each change: a function
# that has changed since, or never ran, is compiled as if nothing was known of it; branches that were never taken in what
# ran are made small.
set(profile ${PROJECT_SOURCE_DIR}/cmake/release.profdata)
if(TAPIR_PROFILE STREQUAL "generate")
    foreach(part tapir_framework tapir)
        target_compile_options(${part} PRIVATE -fprofile-generate -mllvm -static-func-full-module-prefix=false)
    endforeach()
    add_link_options(-fprofile-generate)
elseif(TAPIR_PROFILE STREQUAL "use" AND CMAKE_BUILD_TYPE STREQUAL "Release" AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang"
       AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 19)
    foreach(part tapir_framework tapir)
        target_compile_options(${part} PRIVATE -fprofile-use=${profile} -mllvm -static-func-full-module-prefix=false
            -Wno-profile-instr-out-of-date -Wno-profile-instr-unprofiled -Wno-backend-plugin)
        get_target_property(sources ${part} SOURCES)
        set_source_files_properties(${sources} PROPERTIES OBJECT_DEPENDS ${profile})
    endforeach()
endif()
