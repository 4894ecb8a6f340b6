#!/bin/bash
# Functions for Nginx's split_clients, which finds a text by its hash: MurmurHash2, and the share in which a hash lies.
# Nginx gives each part the hashes below the sum of all shares so far, and rounds every share down.
set -euo pipefail
WHOLE=4294967295 SHARES=10000

hash_text() { # text in ASCII
  local text=$1 length=${#1} hash=${#1} word index
  byte() { printf -v byte %d "'${text:$1:1}"; }
  mix() { word=$((word * 0x5bd1e995 & WHOLE)); }
  for ((index = 0; index + 4 <= length; index += 4)); do
    word=0
    for offset in 3 2 1 0; do byte $((index + offset)); word=$((word << 8 | byte)); done
    mix
    word=$((word ^ word >> 24))
    mix
    hash=$((hash * 0x5bd1e995 & WHOLE ^ word))
  done
  if ((index < length)); then
    for ((at = index; at < length; at++)); do byte "$at"; hash=$((hash ^ byte << 8 * (at - index))); done
    hash=$((hash * 0x5bd1e995 & WHOLE))
  fi
  hash=$((hash ^ hash >> 13))
  hash=$((hash * 0x5bd1e995 & WHOLE))
  echo $((hash ^ hash >> 15))
}

print_parts() { # lines `hash name`, sorted; prints the parts of split_clients, or fails if two lie in one share
  local hash name end=0 sum=0 gap
  add() { sum=$((sum + $1 * WHOLE / SHARES)); printf '%d.%02d%% %s;\n' $(($1 / 100)) $(($1 % 100)) "$2"; }
  while read -r hash name; do
    gap=$((hash * SHARES / WHOLE - end))
    if ((gap < 0)); then return 1; fi
    if ((gap > 0)); then add "$gap" '""'; fi
    if ((hash < sum || hash >= sum + WHOLE / SHARES)); then return 1; fi
    add 1 "$name"
    end=$((end + gap + 1))
  done
  echo '* "";'
}
