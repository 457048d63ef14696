/* SPDX-License-Identifier: MIT */
/* What lendis-report reads in /proc, from samples of several kernels: tests/unit/samples. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "broker/base/proc_text.h"

#define KIB       1024
#define PAGE_SIZE 4096

/* Whole numbers, which a double has exactly. */
#define assert_number(number, expected) assert_true((number) == (expected))

/* To be freed. */
static char *sample(const char *name)
{
    char path[256], *text = calloc(1, 1 << 16);
    FILE *file;

    snprintf(path, sizeof path, "tests/unit/samples/%s", name);
    file = fopen(path, "re");
    assert_non_null(file);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 16) - 1, file) > 0);
    fclose(file);
    return text;
}

/* In kB, NAN stays. */
static double kib(double bytes)
{
    return bytes / KIB;
}

static void expect_smaps(const char *name, const char *path, double rss, double pss, double uss,
                         double anonymous, double swap_pss)
{
    char *text = sample(name);
    struct smaps sum;

    smaps_parse(text, path, &sum);
    assert_number(kib(sum.rss), rss);
    assert_number(kib(sum.pss), pss);
    assert_number(kib(sum.uss), uss);
    assert_number(kib(sum.anonymous), anonymous);
    assert_number(kib(sum.swap_pss), swap_pss);
    free(text);
}

static void rollups_of_several_kernels(void **state)
{
    (void)state;
    expect_smaps("smaps_rollup-4.19", NULL, 5284, 1417, 1076, 1200, 12);
    /* Pss_Anon and its like are parts of Pss; huge pages are private, too. */
    expect_smaps("smaps_rollup-5.10", NULL, 9216, 3071, 5092, 2116, 0);
    expect_smaps("smaps_rollup-6.1", NULL, 1616, 484, 152, 112, 0);
}

static void mappings_are_told_apart_by_their_path(void **state)
{
    (void)state;
    expect_smaps("smaps-5.10", NULL, 932, 95, 92, 84, 0);
    expect_smaps("smaps-5.10", "/memfd:lendis-", 76, 4, 4, 0, 0);
    expect_smaps("smaps-5.10", "/memfd:lendis-catalog", 4, 1, 0, 0, 0);
    expect_smaps("smaps-5.10", "/nowhere", 0, 0, 0, 0, 0);
    expect_smaps("smaps-6.1", "/memfd:lendis-", 200, 60, 40, 0, 0);
    expect_smaps("smaps-6.1", NULL, 204, 64, 44, 4, 0);
}

static void what_has_no_mappings_is_not_known(void **state)
{
    struct smaps sum;

    (void)state;
    smaps_parse("", NULL, &sum); /* of a kernel thread */
    assert_true(isnan(sum.rss) && isnan(sum.pss) && isnan(sum.uss) && isnan(sum.anonymous));
    smaps_parse("Rss: 12 kB\nPss: 12 kB\n", NULL, &sum);
    assert_true(isnan(sum.pss));
}

static void a_line_that_is_cut_harms_nothing(void **state)
{
    char *text = sample("smaps_rollup-6.1");
    struct smaps sum;

    (void)state;
    for (size_t end = 0; text[end]; end++) {
        char kept = text[end];

        text[end] = '\0';
        smaps_parse(text, NULL, &sum);
        assert_true(isnan(sum.rss) || sum.rss <= 1616 * KIB);
        text[end] = kept;
    }
    free(text);
}

static void expect_status(const char *name, double page_tables, double descriptors)
{
    char *text = sample(name);
    struct process_status status;

    status_parse(text, &status);
    if (isnan(page_tables))
        assert_true(isnan(status.page_tables));
    else
        assert_number(kib(status.page_tables), page_tables);
    assert_number(status.descriptors_max, descriptors);
    free(text);
}

static void page_tables_of_several_kernels(void **state)
{
    (void)state;
    expect_status("status-4.9", 244 + 12, 64);
    expect_status("status-6.1", 180, 256);
    expect_status("status-kernel-thread", NAN, 64);
}

static void virtual_size_is_in_pages(void **state)
{
    char *text = sample("statm");

    (void)state;
    assert_number(statm_virtual(text, PAGE_SIZE), 64335.0 * PAGE_SIZE);
    assert_true(isnan(statm_virtual("", PAGE_SIZE)));
    free(text);
}

static void expect_slabs(const char *name, const char *cache, double pages)
{
    char *text = sample(name);

    assert_number(slabinfo_bytes(text, &cache, 1, PAGE_SIZE), pages * PAGE_SIZE);
    free(text);
}

static void slabs_of_several_kernels(void **state)
{
    static const char *const both[] = {"TCP", "sock_inode_cache"};
    char *text = sample("slabinfo-4.19");

    (void)state;
    expect_slabs("slabinfo-4.19", "TCP", 9 * 8);
    expect_slabs("slabinfo-4.19", "UNIX", 24 * 4);
    expect_slabs("slabinfo-6.1", "TCP", 8 * 8);
    expect_slabs("slabinfo-6.1", "UNIX", 0); /* merged with another one there */
    expect_slabs("slabinfo-2.0", "TCP", 4 * 2);
    assert_number(slabinfo_bytes(text, both, 2, PAGE_SIZE), (9 * 8 + 19 * 4) * PAGE_SIZE);
    assert_number(slabinfo_object(text, "dentry"), 192);
    assert_true(isnan(slabinfo_object(text, "TCP6")));
    assert_true(isnan(slabinfo_object(text, "TC")));
    assert_true(isnan(slabinfo_bytes("slabinfo - version: 3.0\n", both, 2, PAGE_SIZE)));
    free(text);
}

static void sockets_of_several_kernels(void **state)
{
    char *old = sample("sockstat-4.19"), *new = sample("sockstat-6.1");

    (void)state;
    assert_number(sockstat_value(old, "sockets", "used"), 1288);
    assert_number(sockstat_value(old, "TCP", "mem"), 4);
    assert_number(sockstat_value(old, "TCP", "tw"), 5);
    assert_number(sockstat_value(old, "UDP", "mem"), 6);
    assert_number(sockstat_value(new, "TCP", "mem"), 137);
    assert_true(isnan(sockstat_value(new, "UDP", "tw"))); /* not the next line's */
    assert_true(isnan(sockstat_value(new, "TCP6", "inuse")));
    free(old);
    free(new);
}

static void memory_of_the_machine(void **state)
{
    char *old = sample("meminfo-3.10"), *new = sample("meminfo-6.1");

    (void)state;
    assert_number(kib(kilobytes_field(new, "MemAvailable")), 24116424);
    assert_number(kib(kilobytes_field(new, "PageTables")), 1852); /* not SecPageTables */
    assert_number(kib(kilobytes_field(old, "KernelStack")), 2416);
    assert_true(isnan(kilobytes_field(old, "MemAvailable"))); /* since 3.14 */
    free(old);
    free(new);
}

static void cgroups_of_both_versions(void **state)
{
    char *v1 = sample("cgroup-v1"), *hybrid = sample("cgroup-hybrid"), *v2 = sample("cgroup-v2");
    char path[64];

    (void)state;
    assert_true(cgroup_matches(v1, "php7.3-fpm.service", true));
    assert_false(cgroup_matches(v1, "fpm.service", true));
    assert_true(cgroup_matches(v2, "php-fpm@shop.service", true)); /* in a cgroup of its own */
    assert_true(cgroup_matches(v1, "/system.slice/php7.3-fpm.service", false));
    assert_true(cgroup_matches(v1, "/system.slice/", false));
    assert_true(cgroup_matches(v1, "/", false));
    assert_false(cgroup_matches(v1, "/system.slice/php7.3", false));
    assert_true(cgroup_matches(hybrid, "/docker", false));
    assert_false(cgroup_unified(v1, path, sizeof path));
    assert_true(cgroup_unified(hybrid, path, sizeof path));
    assert_string_equal(path, "/system.slice/docker.service");
    assert_true(cgroup_unified(v2, path, sizeof path));
    assert_string_equal(path, "/system.slice/system-php.slice/php-fpm@shop.service/worker");
    assert_false(cgroup_unified(v2, path, 20));
    free(v1);
    free(hybrid);
    free(v2);
}

static void memory_of_cgroups(void **state)
{
    char *old = sample("memory.stat-5.10"), *new = sample("memory.stat-6.1");

    (void)state;
    assert_number(stat_field(old, "sock"), 12288);
    assert_number(stat_field(old, "slab"), 3000000);   /* not slab_reclaimable */
    assert_true(isnan(stat_field(old, "pagetables"))); /* since 5.18 */
    assert_number(stat_field(new, "pagetables"), 3145728);
    free(old);
    free(new);
}

static void what_redis_says(void **state)
{
    char *old = sample("info-3.2"), *new = sample("info-5.0");

    (void)state;
    assert_number(info_field(new, "used_memory"), 8812344);
    assert_number(info_field(new, "used_memory_rss"), 16777216);
    assert_number(info_field(new, "mem_clients_normal"), 16515072);
    assert_number(info_field(old, "connected_clients"), 12);
    assert_true(isnan(info_field(old, "mem_clients_normal")));
    free(old);
    free(new);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rollups_of_several_kernels),
        cmocka_unit_test(mappings_are_told_apart_by_their_path),
        cmocka_unit_test(what_has_no_mappings_is_not_known),
        cmocka_unit_test(a_line_that_is_cut_harms_nothing),
        cmocka_unit_test(page_tables_of_several_kernels),
        cmocka_unit_test(virtual_size_is_in_pages),
        cmocka_unit_test(slabs_of_several_kernels),
        cmocka_unit_test(sockets_of_several_kernels),
        cmocka_unit_test(memory_of_the_machine),
        cmocka_unit_test(cgroups_of_both_versions),
        cmocka_unit_test(memory_of_cgroups),
        cmocka_unit_test(what_redis_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
