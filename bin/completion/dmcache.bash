# Completion for bash: commands after dmcache, options of each command as its help tells them, requests of
# cache_ctl, and files.
# shellcheck shell=bash

_dmcache() {
  local program=$1 word=$2 help
  COMPREPLY=()
  if [ "${program##*/}" != dmcache ]; then
    help=$("$program" --help 2> /dev/null)
  elif [ "$COMP_CWORD" -gt 1 ]; then
    help=$("$program" "${COMP_WORDS[1]}" --help 2> /dev/null)
  else
    help=$("$program" --help)
    mapfile -t COMPREPLY < <(compgen -W \
      "$(sed -n '/^Commands:/,/^Options:/s/^  \([a-z][a-z_-]*\) .*/\1/p' <<< "$help")" -- "$word")
  fi
  if [[ $word == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W \
      "$(grep -oE -- '(^|[[:space:]])--[a-z][a-z-]+' <<< "$help")" -- "$word")
  elif [[ ${COMP_WORDS[COMP_CWORD-1]} != --* ]]; then # where no option's value is wanted
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W \
      "$(sed -n 's/.*cache_ctl --control SOCKET \([a-z]*\).*/\1/p' <<< "$help")" -- "$word")
  fi
}

complete -o bashdefault -o default -F _dmcache dmcache @completed@
