/* SPDX-License-Identifier: MIT */
/* Text made fit to be shown: see text.h. */
#include "broker/base/text.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* How many bytes of `text` are one character in UTF-8 (RFC 3629) that is no control character; 0:
 * they are none. */
static size_t character_size(const unsigned char *text, size_t size)
{
    size_t length = text[0] < 0x80 ? 1 : text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;

    if (length == 1)
        return text[0] >= 0x20 && text[0] != 0x7f;
    if (text[0] < 0xc2 || text[0] > 0xf4 || length > size)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    /* Overlong forms, surrogates, and beyond the last code point; C1 control characters. */
    if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
        (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f) ||
        (text[0] == 0xc2 && text[1] < 0xa0))
        return 0;
    return length;
}

/* The code point of a character of UTF-8. */
static uint32_t decode(const unsigned char *text, size_t length)
{
    uint32_t point = length == 1 ? text[0] : text[0] & (0xffu >> (length + 1));

    for (size_t i = 1; i < length; i++)
        point = point << 6 | (text[i] & 0x3fu);
    return point;
}

/* Bidi_Control and Default_Ignorable_Code_Point of the Unicode Character Database, separators of
 * lines and paragraphs, and the marks of annotations; first and last of each range. */
static bool is_invisible(uint32_t point)
{
    static const uint32_t ranges[][2] = {
        {0x00ad, 0x00ad},   {0x034f, 0x034f}, {0x061c, 0x061c},   {0x115f, 0x1160},
        {0x17b4, 0x17b5},   {0x180b, 0x180f}, {0x200b, 0x200f},   {0x2028, 0x202e},
        {0x2060, 0x206f},   {0x3164, 0x3164}, {0xfe00, 0xfe0f},   {0xfeff, 0xfeff},
        {0xffa0, 0xffa0},   {0xfff0, 0xfffb}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a},
        {0xe0000, 0xe0fff},
    };

    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (point >= ranges[i][0] && point <= ranges[i][1])
            return true;
    return false;
}

/* What is shown of the first character of `text`, `shown`; returns how many bytes it stands for. */
static size_t show_character(const char *text, size_t size, char shown[TEXT_CHARACTER_MAX + 1])
{
    size_t length = character_size((const unsigned char *)text, size);
    uint32_t point;

    if (length == 0) {
        strcpy(shown, "?");
        return 1;
    }
    point = decode((const unsigned char *)text, length);
    if (is_invisible(point)) {
        snprintf(shown, TEXT_CHARACTER_MAX + 1, point > 0xffff ? "\\U%08x" : "\\u%04x", point);
    } else {
        memcpy(shown, text, length);
        shown[length] = '\0';
    }
    return length;
}

void text_clean(char *clean, size_t room, const char *text, size_t size)
{
    size_t length = strnlen(text, size), out = 0;
    char shown[TEXT_CHARACTER_MAX + 1];

    for (size_t i = 0; i < length; out += strlen(shown)) {
        i += show_character(text + i, length - i, shown);
        if (out + strlen(shown) >= room)
            break;
        strcpy(clean + out, shown);
    }
    clean[out] = '\0';
}
