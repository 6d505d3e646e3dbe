"""
The board: the ledger on one page that needs nothing else, for people.

.. code-block:: text

    content   what is shown, read in one transaction
    layout    where the boxes and lines of a graph go
    drawing   a graph as HTML: boxes that are links, over lines of SVG
    work      initiatives with their phases, graphs and tables of tasks
    people    messages, questions, agents, errands
    text      what people have written, and what is drawn beside it
    page      the page around all that; page.css and page.js go into it
    file      the file that it is written to
"""
