//! The page's words in each language. Sentences with numbers in them are in [`super::say`].

use crate::conditions::JobType;
use crate::job::Status;

macro_rules! words {
    ($($name:ident: $en:literal, $ko:literal;)+) => {
        /// What stands in the page.
        pub(super) struct Words {
            $(pub $name: &'static str,)+
            pub weekdays: [&'static str; 7],
        }

        /// In English.
        pub(super) const ENGLISH: Words = Words {
            $($name: $en,)+
            weekdays: ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"],
        };

        /// In Korean.
        pub(super) const KOREAN: Words = Words {
            $($name: $ko,)+
            weekdays: ["월", "화", "수", "목", "금", "토", "일"],
        };
    };
}

words! {
    title: "Batch logout report", "일괄 로그아웃 보고서";
    unfinished: "This report is not final.", "최종 보고서가 아닙니다.";
    unfinished_why: "The month is not over, or has only just ended. The numbers go as far as the moment when the report was made, and it is not kept.",
        "아직 끝나지 않았거나 방금 끝난 달입니다. 작성 시점까지의 수치이며 이 보고서는 보관되지 않습니다.";
    unreadable_why: "They are not counted below. The daily check of the audit trail names them; look at its findings before you rely on this report.",
        "아래 수치에는 포함되지 않았습니다. 감사 기록의 일일 점검이 해당 기록을 지목하므로, 이 보고서를 신뢰하기 전에 점검 결과를 확인해 주십시오.";
    overwritten: "The newest published audit head was deleted or written over.", "가장 최근에 공개된 감사 헤드가 삭제되었거나 덮어쓰였습니다.";
    overwritten_why: "Run the audit check before you rely on this report.", "이 보고서를 신뢰하기 전에 감사 점검을 실행해 주십시오.";
    summary: "Summary", "요약";
    nothing_done: "No batch logout was made in this month.", "이 달에는 일괄 로그아웃이 실행되지 않았습니다.";
    jobs: "Jobs", "작업";
    dry_runs: "Dry runs", "모의 실행";
    affected_users: "Affected users", "영향받은 사용자";
    tokens: "Tokens revoked", "폐기된 토큰";
    sessions: "Sessions ended", "종료된 세션";
    emergencies: "Emergency logouts", "긴급 로그아웃";
    failed: "Failed", "실패";
    completed: "Completed", "완료";
    cancelled: "Cancelled", "취소";
    refusals: "Refusals", "거부된 요청";
    findings: "Suspicious patterns", "의심스러운 패턴";
    once_for_each_job: "once for each job", "작업마다 한 번씩 집계";
    suspicious: "Suspicious patterns", "의심스러운 패턴";
    nothing_suspicious: "Nothing suspicious was found.", "의심스러운 패턴이 발견되지 않았습니다.";
    suspicious_rule: "Looked for are: more than 10 jobs by one user in the month; more than 3 within sixty minutes, also across the beginning of the month; and jobs more than an hour away from every hour at which their user made at least one in twenty of the jobs and dry runs of the 90 days before the month. Dry runs and the daily clean-up are not suspicious.",
        "다음을 찾습니다. 한 달에 한 사용자가 10건을 초과해 실행한 작업, 60분 안에 3건을 초과한 작업(월초의 경계를 넘는 경우 포함), 그리고 해당 사용자가 그 달 이전 90일 동안 작업과 모의 실행의 20분의 1 이상을 실행한 시간대에서 한 시간 넘게 벗어난 작업입니다. 모의 실행과 일일 정리 작업은 의심 대상이 아닙니다.";
    not_judged: "Nothing is said of the usual hours of these users, as they made fewer than 20 jobs or dry runs, or on fewer than 5 days, in the 90 days before the month:",
        "다음 사용자는 그 달 이전 90일 동안 작업과 모의 실행이 20건 미만이거나 5일 미만이어서 평소 시간대를 판단하지 않았습니다.";
    excessive: "More than 10 jobs in the month", "한 달에 10건을 초과한 작업";
    rapid: "More than 3 jobs within an hour", "한 시간 안에 3건을 초과한 작업";
    unusual: "Jobs outside the user's usual hours", "평소 시간대를 벗어난 작업";
    usual_hours: "Usual hours", "평소 시간대";
    examples: "The first of them", "첫 작업들";
    user: "User", "사용자";
    first_job: "First job", "첫 작업";
    last_job: "Last job", "마지막 작업";
    when: "When", "시각";
    authorized_by: "Authorised by", "승인자";
    reason: "Reason", "사유";
    outcome: "Outcome", "결과";
    drill: "Drill", "훈련";
    open: "Not ended", "진행 중";
    no_emergencies: "There was no emergency logout and no drill.", "긴급 로그아웃과 훈련이 없었습니다.";
    by_day: "Jobs by day", "일별 작업";
    by_day_table: "Jobs of each day, without dry runs", "일별 작업 수(모의 실행 제외)";
    by_type: "Jobs by kind", "종류별 작업";
    by_type_table: "What the jobs of each kind did", "종류별 작업 결과";
    kind: "Kind", "종류";
    group: "Group", "그룹";
    client: "Client", "클라이언트";
    time: "Time", "시간";
    conditional: "Conditional", "조건";
    emergency: "Emergency", "긴급";
    by_hour: "Jobs by hour of the day", "시간대별 작업";
    by_user: "Jobs by user", "사용자별 작업";
    clean_up: "Daily clean-up", "일일 정리";
    reasons: "Most frequent reasons", "주요 사유";
    failures: "Failed operations", "실패한 작업";
    no_failures: "No job failed.", "실패한 작업이 없습니다.";
    chunks_failed: "Parts that failed", "실패한 부분";
    no_refusals: "Nobody was refused anything.", "거부된 요청이 없습니다.";
    permission_denied: "No permission", "권한 없음";
    rate_limited: "Too often", "횟수 초과";
    wrong_keys: "Wrong emergency key", "잘못된 긴급 인증번호";
    trail: "Audit trail", "감사 기록";
    published_why: "This hash vouches for all publications before it, and with them for every audit entry that they cover. It can be compared with the bucket of published heads, and with the reports before and after.",
        "이 해시는 이전의 모든 공개 기록과 그 기록이 담고 있는 모든 감사 기록을 보증합니다. 공개 헤드 버킷 및 이전과 이후의 보고서와 비교할 수 있습니다.";
    not_published: "No head of the audit trail had been published when this report was made.", "이 보고서를 작성한 시점에 공개된 감사 헤드가 없었습니다.";
    heads: "Heads that it names", "공개된 헤드";
    chain: "Chain", "체인";
    place: "Place", "위치";
    how_counted: "How this is counted", "집계 방법";
    how_counted_text: "A job counts in the month it was made in; what it did counts in the month it ended in. A user who lost something to two jobs counts twice. A job that failed and was finished later counts as completed; if that was in another month, both months say so. All of it is read from the audit trail, each entry once; what cancelled jobs did, and what users did before the month, is read from the jobs themselves, which are kept for 400 days.",
        "작업은 실행된 달에, 작업의 결과는 종료된 달에 집계합니다. 두 작업의 영향을 받은 사용자는 두 번 집계됩니다. 실패했다가 나중에 마무리된 작업은 완료로 집계하며, 그것이 다른 달이라면 두 달 모두에 나타납니다. 모든 수치는 감사 기록에서 각 기록을 한 번씩 읽어 집계합니다. 취소된 작업의 결과와 그 달 이전의 이력은 400일 동안 보관되는 작업 자체에서 읽습니다.";
}

impl Words {
    /// A kind of job.
    pub fn kind_of(&self, job_type: JobType) -> &'static str {
        match job_type {
            JobType::GroupBased => self.group,
            JobType::ClientBased => self.client,
            JobType::TimeBased => self.time,
            JobType::Conditional => self.conditional,
            JobType::Emergency => self.emergency,
        }
    }

    /// How a job ended.
    pub fn ended(&self, ended: Option<&str>) -> &'static str {
        match ended {
            Some(ended) if ended == Status::Completed.as_str() => self.completed,
            Some(ended) if ended == Status::Failed.as_str() => self.failed,
            Some(ended) if ended == Status::Cancelled.as_str() => self.cancelled,
            _ => self.open,
        }
    }
}
