"""Environment variables that set no field of `Settings`. Nothing is read here."""

from __future__ import annotations

from codex_obs._settings.entry import EnvVar

RUN_DIR_VARIABLE = "CODEX_OBS_RUN_DIR"
RESUME_VARIABLE = "CODEX_OBS_RESUME"
# What launchers say of the job that a process belongs to.
ELASTIC_ID_VARIABLE = "TORCHELASTIC_RUN_ID"
SLURM_JOB_VARIABLE = "SLURM_JOB_ID"
SLURM_ARRAY_VARIABLE = "SLURM_ARRAY_TASK_ID"
SLURM_STEP_VARIABLES = ("SLURM_STEP_ID", "SLURM_STEPID")
PMIX_VARIABLE = "PMIX_NAMESPACE"
RESTART_VARIABLES = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")
ADDRESS_VARIABLE = "MASTER_ADDR"
PORT_VARIABLE = "MASTER_PORT"
LOCAL_RANK_VARIABLE = "LOCAL_RANK"
# Where each launcher says which process of its host one is.
LOCAL_RANK_VARIABLES = (
    LOCAL_RANK_VARIABLE,
    "SLURM_LOCALID",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "MPI_LOCALRANKID",
)
NODE_RANK_VARIABLES = ("NODE_RANK", "GROUP_RANK")
SIZE_VARIABLES = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "JSM_NAMESPACE_SIZE")
LOCAL_SIZE_VARIABLES = (
    "LOCAL_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "MPI_LOCALNRANKS",
    "JSM_NAMESPACE_LOCAL_SIZE",
)
NODE_COUNT_VARIABLES = ("GROUP_WORLD_SIZE", "SLURM_STEP_NUM_NODES", "SLURM_NNODES", "SLURM_JOB_NUM_NODES")
RANK_VARIABLES = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "JSM_NAMESPACE_RANK")
LAUNCHER_VARIABLES = (
    *RANK_VARIABLES,
    *SIZE_VARIABLES,
    LOCAL_RANK_VARIABLE,
    *NODE_RANK_VARIABLES,
    *LOCAL_SIZE_VARIABLES,
    *NODE_COUNT_VARIABLES,
    ELASTIC_ID_VARIABLE,
    SLURM_JOB_VARIABLE,
    SLURM_ARRAY_VARIABLE,
    *SLURM_STEP_VARIABLES,
    PMIX_VARIABLE,
    *RESTART_VARIABLES,
    ADDRESS_VARIABLE,
    PORT_VARIABLE,
)


# What `codex_obs.mlflow_guard` looks at.
GUARD_URI = "MLFLOW_TRACKING_URI"
GUARD_FOLDER = "CODEX_MLFLOW_LOCAL_DIR"
GUARD_ALLOWS = ("MLFLOW_ALLOW_REMOTE", "CODEX_ALLOW_REMOTE_TRACKING")
GUARD_SAMPLES = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"

# The first that is set counts.
LABEL_VARIABLES = ("CODEX_OBS_METRIC_LABELS", "RUST_RL_METRIC_LABELS")
# What concerns spans.
CONTENT_VARIABLE = "CODEX_OBS_CAPTURE_CONTENT"
TRACEPARENT_VARIABLE = "TRACEPARENT"
STAGING_VARIABLE = "CODEX_OBS_STAGING_DIR"
CACHE_VARIABLE = "XDG_CACHE_HOME"
LOG_VARIABLES = ("CODEX_OBS_LOG", "RUST_LOG")

GENERAL = (
    EnvVar(RUN_DIR_VARIABLE, "runs/<name>", "Run directory of `init` and input of `codex-ndjson` when none is named."),
    EnvVar(
        RESUME_VARIABLE,
        "allow",
        "What `init` does where the directory holds a run: `allow` continues it, `must` continues it and wants one, "
        "`never` refuses it, `new` takes the next free `<run_dir>-2`.",
    ),
    EnvVar(
        LOG_VARIABLES[0],
        'what `config["logging"]` says, else info',
        "Which lines of `console` are shown: a level (`off`, `error`, `warn`, `info`, `debug`, `trace`), or "
        "`target=level`, separated by commas, such as `trainer=off,info`. Everything is logged all the same.",
    ),
    EnvVar(LOG_VARIABLES[1], "none", f"The same, if {LOG_VARIABLES[0]} is not set."),
    EnvVar(
        LABEL_VARIABLES[0],
        "none",
        "What metrics are called in lines of `console`: `key=Label`, separated by commas.",
    ),
    EnvVar(LABEL_VARIABLES[1], "none", f"The same, if {LABEL_VARIABLES[0]} is not set."),
    EnvVar(GUARD_FOLDER, "artifacts/mlruns", "Folder of `codex_obs.mlflow_guard` where nothing else is asked for."),
    EnvVar(
        GUARD_ALLOWS[0],
        "off",
        "1, true, yes or on: `codex_obs.mlflow_guard` leaves an address alone that is not of this machine.",
    ),
    EnvVar(GUARD_ALLOWS[1], "off", "The same."),
    EnvVar(GUARD_SAMPLES, "off", "Noted by `codex_obs.mlflow_guard`: whether MLflow's own client samples the machine."),
    EnvVar(
        STAGING_VARIABLE,
        "codex_obs-<uid> below the user's cache folder",
        "Folder of `codex_obs.telemetry.stage`. It must be one that only its owner may write to.",
    ),
    EnvVar(CACHE_VARIABLE, "~/.cache", "The user's cache folder."),
    EnvVar("NO_COLOR", "none", "If set, lines of `console` have no colours."),
    EnvVar(
        ELASTIC_ID_VARIABLE,
        "UTC time and four hex digits",
        "Name of the run when no directory and no name is given, shared by the processes of a torchrun job. It must be "
        "one folder name. Empty and `none`, which torchrun sets where it has no `--rdzv-id`, count as not set.",
    ),
    EnvVar(
        SLURM_JOB_VARIABLE,
        "UTC time and four hex digits",
        f"Name of the run when {ELASTIC_ID_VARIABLE} gives none, followed by `_` and {SLURM_ARRAY_VARIABLE} in an "
        "array, and by `.` and the number of the job step (`SLURM_STEP_ID`) under `srun`.",
    ),
    EnvVar(SLURM_ARRAY_VARIABLE, "none", "Part of the name, see there."),
    EnvVar(SLURM_STEP_VARIABLES[0], "none", "Part of the name, see there; also as `SLURM_STEPID`."),
    EnvVar(PMIX_VARIABLE, "UTC time and four hex digits", "Name of the run when none of those gives one (Open MPI 5)."),
    EnvVar(
        RESTART_VARIABLES[0],
        "0",
        f"How often a torchrun job was restarted (for SLURM: {RESTART_VARIABLES[1]}): a restart continues its run.",
    ),
    EnvVar(RESTART_VARIABLES[1], "0", "The same for a requeued SLURM job."),
    EnvVar(
        ADDRESS_VARIABLE,
        "none",
        f"With {PORT_VARIABLE}, this identifies a job to its ranks on several hosts.",
    ),
    EnvVar(PORT_VARIABLE, "none", f"See {ADDRESS_VARIABLE}."),
    EnvVar(
        LOCAL_RANK_VARIABLE,
        "none",
        "Rank on this host. On the first node it is the rank; on others, `node * LOCAL_WORLD_SIZE + LOCAL_RANK`. "
        "Used when none of the variables of `rank` is set.",
    ),
    *(
        EnvVar(name, "none", f"Whether this process samples its host ({LOCAL_RANK_VARIABLE} says so, too): 0 does.")
        for name in LOCAL_RANK_VARIABLES[1:]
    ),
    EnvVar(NODE_RANK_VARIABLES[0], "0", f"Number of this node, for {LOCAL_RANK_VARIABLE}."),
    EnvVar(NODE_RANK_VARIABLES[1], "0", "The same, as torchrun calls it."),
    EnvVar(
        SIZE_VARIABLES[0],
        "1 without a rank, else unknown",
        "Number of ranks: the first that is set of this one and the next four.",
    ),
    *(EnvVar(name, "unknown", f"Number of ranks, see {SIZE_VARIABLES[0]}.") for name in SIZE_VARIABLES[1:]),
    EnvVar(
        LOCAL_SIZE_VARIABLES[0],
        "unknown",
        "Number of ranks on this host: the first that is set of this one and the next three.",
    ),
    *(EnvVar(name, "unknown", f"See {LOCAL_SIZE_VARIABLES[0]}.") for name in LOCAL_SIZE_VARIABLES[1:]),
    *(EnvVar(name, "unknown", "Number of hosts of the job.") for name in NODE_COUNT_VARIABLES),
)

# What the way to a server needs. None of it sends anything anywhere.
HTTP = (
    EnvVar("REQUESTS_CA_BUNDLE", "none", "The same as MLFLOW_TRACKING_SERVER_CERT_PATH, if that is not set."),
    EnvVar("CURL_CA_BUNDLE", "none", "The same, if neither of those is set."),
    EnvVar("SSL_CERT_FILE", "none", "The same, if none of those is set."),
    EnvVar(
        "HTTPS_PROXY",
        "none",
        "Proxy for an https address; never used for this machine itself. The lower-case form overrides it; so do those "
        "of the next three.",
    ),
    EnvVar("HTTP_PROXY", "none", "Proxy for an http address."),
    EnvVar("ALL_PROXY", "none", "Proxy for both, if no specific one is set."),
    EnvVar("NO_PROXY", "none", "Hosts that are contacted without a proxy, separated by commas."),
)
