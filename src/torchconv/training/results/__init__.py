"""What a trained network is worth; all of it internal; `torchconv.training` has the functions.

`evaluate`            the answers of a run to images it has not learned from, judged by its objective, and to files
`report`              report.html, one page with curves, mistakes, filters and layers
`report.html.jinja`   the page
"""

__all__: list[str] = []
