"""Environment variables that set no field of `Settings`. Nothing is read here."""

from __future__ import annotations

from dataclasses import dataclass

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
MLFLOW_URI_VARIABLE = "MLFLOW_TRACKING_URI"


@dataclass(frozen=True, slots=True)
class EnvVar:
    """An environment variable that codex_obs reads.

    Attributes:
        name: Name of the variable.
        default: What holds without it, as text.
        meaning: What it is for and what it may be.
        setting: The field of `Settings` that it sets, if it sets one.
    """

    name: str
    default: str
    meaning: str
    setting: str | None = None


# The first that is set counts.
LABEL_VARIABLES = ("CODEX_OBS_METRIC_LABELS", "RUST_RL_METRIC_LABELS")
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

# What an exporter reads of the environment. None of it switches an exporter on.
EXPORT = (
    EnvVar(
        MLFLOW_URI_VARIABLE,
        "none",
        "Default address of `codex-ndjson sync`. It makes no run export anything.",
    ),
    EnvVar(
        "MLFLOW_TRACKING_TOKEN",
        "none",
        "Bearer token for the MLflow server, used where there is no user name with a password.",
    ),
    EnvVar("MLFLOW_TRACKING_USERNAME", "none", "User name for the MLflow server. One in the address wins."),
    EnvVar("MLFLOW_TRACKING_PASSWORD", "none", "Password for the MLflow server."),
    EnvVar(
        "MLFLOW_TRACKING_INSECURE_TLS",
        "false",
        "`true`: the MLflow server's certificate is not looked at, so that anyone between can read and change what is "
        "sent. For tests.",
    ),
    EnvVar(
        "MLFLOW_TRACKING_SERVER_CERT_PATH",
        "Mozilla's list of authorities, which is built in",
        "PEM file, or a folder of them, with the authorities that may have signed the MLflow server's certificate.",
    ),
    EnvVar(
        "MLFLOW_TRACKING_CLIENT_CERT_PATH",
        "none",
        "PEM file with a certificate and its unencrypted private key, to show to the MLflow server.",
    ),
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
