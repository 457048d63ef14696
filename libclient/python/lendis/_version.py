# SPDX-License-Identifier: MIT
"""The version, for those who must not load liblendis to know it."""

VERSION = "0.1.0"
