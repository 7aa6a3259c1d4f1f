# Link-time optimisation, by clang-19 and its lld in Release: what one source of the library calls in another is inlined where the
# profile says that it pays. The library's objects hold machine code beside it, so that any linker takes them: tests link
# in less time without. Programs that are to be fast name themselves to tapir_optimize_linking(); one of an installed tapir,
# by the same clang, is linked with -flto=thin -Wl,--fat-lto-objects.
option(TAPIR_LTO "Optimise samples and benchmarks when they are linked (clang-19 and lld-19, in Release)"
    ${PROJECT_IS_TOP_LEVEL})
set(link_time)
if(TAPIR_LTO AND TAPIR_LLD AND CMAKE_BUILD_TYPE STREQUAL "Release" AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang"
   AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 19 AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 20
   AND NOT TAPIR_PROFILE STREQUAL "generate" AND NOT TAPIR_SANITIZE AND NOT TAPIR_FUZZ)
    set(link_time -flto=thin -ffat-lto-objects -ffunction-sections)
endif()
foreach(part tapir_framework tapir)
    target_compile_options(${part} PRIVATE ${link_time})
endforeach()

# They share a cache: most of what they link is the same.
function(tapir_optimize_linking program)
    if(link_time)
        target_compile_options(${program} PRIVATE ${link_time})
        target_link_options(${program} PRIVATE ${link_time} -Wl,--fat-lto-objects
            -Wl,--thinlto-cache-dir=${PROJECT_BINARY_DIR}/link_time)
    endif()
endfunction()
