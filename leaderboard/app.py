"""The leaderboard: `python -m streamlit run leaderboard/app.py`."""

import streamlit as st

from leaderboard import (
    board_page,
    compare_page,
    completion_page,
    datasets_page,
    jobs_page,
    methods_page,
    people,
    problem_page,
    problems_page,
    run_page,
    training_page,
    try_page,
)


def main() -> None:
    """Lay out the navigation and show the page of the URL."""
    st.set_page_config(page_title="Codeladder", page_icon=":material/stairs:", layout="wide")
    page = st.navigation(
        [
            st.Page(board_page.show, title="Leaderboard", default=True),
            st.Page(compare_page.show, title="Compare", url_path="compare"),
            st.Page(problems_page.show, title="Problems", url_path="problems"),
            st.Page(training_page.show, title="Training", url_path="training"),
            st.Page(datasets_page.show, title="Datasets", url_path="datasets"),
            st.Page(try_page.show, title="Try it", url_path="try"),
            st.Page(jobs_page.show, title="Jobs", url_path="jobs"),
            st.Page(methods_page.show, title="Methods", url_path="methods"),
            st.Page(run_page.show, title="Runs", url_path="run", visibility="hidden"),
            st.Page(problem_page.show, title="Problem", url_path="problem", visibility="hidden"),
            st.Page(
                completion_page.show, title="Answer", url_path="completion", visibility="hidden"
            ),
        ],
        position="top",
    )
    people.admit()
    page.run()
    people.foot()


main()
