# Run the driver of a job on the head of a Ray cluster, with the Python that Ray itself runs with: sh on_head.sh JOB STORE
#
# Ray starts a job with the PATH of its own processes, which need not have that Python. In this order:
# MNISTJOBS_PYTHON; a python on PATH that imports ray; the one that the raylet above this process starts workers with.
# Where the store is a folder, what the driver prints goes to the job's log there, which outlives the cluster.

job=$1 store=$2

imports_ray() { "$1" -P -c 'import ray' >/dev/null 2>&1; }

python_of_raylet() {
    pid=$PPID
    for _ in 1 2 3 4 5; do
        [ -e "/proc/$pid/status" ] || return # above the first process of a container there is none
        case $(readlink "/proc/$pid/exe") in
        */raylet)
            tr '\0' '\n' <"/proc/$pid/cmdline" |
                sed -n -e 's/^--python_worker_command="\([^"]*\)".*/\1/p' -e 's/^--python_worker_command=\([^" ]*\).*/\1/p'
            return
            ;;
        esac
        pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status")
    done
}

run() {
    if [ -d "$store/jobs/$job" ] && mkdir -p "$store/jobs/$job/log"; then
        exec "$1" -P -m mnistjobs drive "$job" --store "$store" >>"$store/jobs/$job/log/driver.log" 2>&1
    fi
    exec "$1" -P -m mnistjobs drive "$job" --store "$store"
}

if [ -n "$MNISTJOBS_PYTHON" ]; then
    run "$MNISTJOBS_PYTHON"
fi
for python in python python3 "$(python_of_raylet)"; do
    if imports_ray "$python"; then
        run "$python"
    fi
done
echo "mnistjobs: no Python 3.11 or newer on this head imports ray; set MNISTJOBS_PYTHON to one where you submit" >&2
exit 2
