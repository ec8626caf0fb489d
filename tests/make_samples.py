"""Make the sample documents that are not plain UTF-8 text: `python tests/make_samples.py`.

Needs python-docx and reportlab. Two runs give the same bytes: fixed dates, no compression in the PDF,
fixed times in the docx's zip (there another zlib may pack differently). Larkisle Technology (云雀岛科技) and its rules are invented.
"""

from __future__ import annotations

import datetime as dt
import io
import zipfile
from pathlib import Path

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"
DATE = dt.datetime(2026, 11, 1, 9, 0, 0)

Row = tuple[str, ...]

RAG_ZH = """\
检索增强生成（RAG）入门

一、什么是检索增强生成

检索增强生成（Retrieval-Augmented Generation，简称 RAG）是一种先查资料、再回答问题的方法：系统先从文档中找出与问题有关的段落，再让大语言模型根据这些段落写出答案。这个名称出自 2020 年的一篇论文。

二、为什么需要它

大语言模型的知识停留在训练结束的那一天，也没有读过你电脑里的文件。直接提问时，它可能答不上来，也可能编造一个听上去合理的答案。RAG 有三个好处：资料更新以后只要重建索引，不必重新训练模型；答案可以注明出处，方便核对；私有文件留在自己的机器上，不必交给别人。

三、工作流程

RAG 的工作流程分为三步：建立索引、检索和生成。

第一步，建立索引。把文档读成文字，切成几百字一段的文本块，再为每个文本块建立关键词索引，并用嵌入模型算出向量。

第二步，检索。收到问题以后，用关键词和向量两种方式查找相关的文本块。关键词检索擅长找专有名词和编号，向量检索擅长找说法不同而意思相近的内容，两者合用叫作混合检索。

第三步，生成。把问题和找到的文本块一起放进提示词，由大语言模型写出答案，并标明每句话来自哪一段。

四、局限

检索不到，就回答不好。如果资料里根本没有答案，系统应当直说没有找到，而不是勉强作答。

文本块切得太大，会混进无关的内容；切得太小，又会丢掉上下文。扫描件要先做文字识别，否则读不出文字。

RAG 也不适合需要通读全部资料才能回答的问题，例如“这些合同里一共出现了多少家供应商”。

五、RAG 与微调的区别

微调改变的是模型的参数，适合让模型学会某种语气、格式或技能。RAG 不改变模型，只改变它看到的资料，适合内容经常变化的场合。两种办法可以一起用。
"""

HANDBOOK_ZH: list[tuple[str, str | list[Row]]] = [
    ("title", "云雀岛科技员工手册"),
    (
        "text",
        "云雀岛科技（Larkisle Technology）是为演示 ragkit 而虚构的公司，本手册的规定并不适用于任何真实的单位。",
    ),
    ("text", "本手册自 2026 年 1 月 1 日起执行，适用于全体正式员工。差旅方面的细则见英文的差旅与报销制度。"),
    ("heading", "年休假"),
    ("text", "年休假的天数由累计工作年限决定，工作满一年后开始享有。"),
    (
        "table",
        [
            ("累计工作年限", "每年年休假"),
            ("满 1 年，不满 10 年", "5 天"),
            ("满 10 年，不满 20 年", "10 天"),
            ("满 20 年", "15 天"),
        ],
    ),
    ("text", "也就是说，工作满 10 年的员工每年有 10 天年休假，工作满 20 年的员工每年有 15 天。"),
    ("text", "当年没有休完的年休假可以结转到下一年，最晚在次年 3 月 31 日之前休完，最多结转 5 天。"),
    ("text", "申请三天以上的年休假，要提前两周在人事系统中提出；三天及以下，提前三个工作日即可。"),
    ("heading", "病假"),
    ("text", "生病不能上班的，应当在当天上午 10 点以前告诉直属主管。"),
    (
        "text",
        "病假连续两天以上的，返岗后要补交医院证明。每年有 10 天全薪病假，超出的部分按基本工资的八成发放。",
    ),
    ("heading", "远程办公"),
    ("text", "试用期为三个月。试用期结束后，员工每周最多可以远程办公两天，须在前一天下班前登记。"),
    ("text", "远程办公时，每天 10 点到 16 点为核心时段，应当能够随时联系上。"),
    ("heading", "出差与报销"),
    (
        "table",
        [
            ("项目", "上限"),
            ("一线城市住宿", "每晚 600 元"),
            ("其他城市住宿", "每晚 400 元"),
            ("出差餐费", "每天 120 元"),
        ],
    ),
    ("text", "一线城市指北京、上海、广州和深圳。报销单应当在出差结束后 30 天内提交，逾期不予受理。"),
    ("text", "超出上限的部分由本人承担，事先得到部门负责人书面同意的除外。"),
    ("heading", "信息安全"),
    ("text", "密码至少 12 位，所有账号都要开启双因素认证。"),
    ("text", "电脑或手机丢失，必须在一小时内报告 IT 服务台，分机号是 8600。"),
    ("text", "不得把客户数据和源代码输入公共的人工智能服务，也不得转存到私人网盘。"),
]

TRAVEL_EN: list[list[tuple[str, str | list[Row]]]] = [
    [
        ("title", "Larkisle Travel and Expense Policy"),
        ("text", "Larkisle Technology is an invented company. This policy is a sample document of ragkit and "
         "binds nobody. It is in force from 1 January 2026 and agrees with the employee handbook."),
        ("heading", "1. Before you travel"),
        ("text", "Every trip needs the approval of your manager in the travel system. Trips abroad also need "
         "the approval of the head of your department."),
        ("text", "Book at least seven days before departure. Later bookings are possible when a customer asks "
         "for a visit at short notice."),
        ("heading", "2. Trains and flights"),
        ("text", "Take the train when the journey lasts less than five hours. Second class is the standard on "
         "high-speed trains."),
        ("text", "Flights are booked in economy class. Business class is allowed on flights of more than eight "
         "hours, if the head of your department agrees."),
        ("text", "Taxis are paid for between 22:00 and 06:00, with heavy luggage, or where no public transport "
         "runs."),
    ],
    [
        ("heading", "3. Hotels"),
        ("text", "The limits below include breakfast and tax."),
        ("table", [
            ("City", "Limit per night"),
            ("Beijing, Shanghai, Guangzhou, Shenzhen", "CNY 600"),
            ("Other cities in China", "CNY 400"),
            ("Abroad", "CNY 1,200"),
        ]),
        ("text", "The hotel limit in tier-1 cities is CNY 600 per night. Tier-1 cities are Beijing, Shanghai, "
         "Guangzhou and Shenzhen."),
        ("text", "If you stay with friends or family, you may spend up to CNY 150 on a gift for your hosts "
         "instead."),
        ("heading", "4. Meals"),
        ("text", "Meals are paid for up to CNY 120 per day on trips in China and up to CNY 300 per day abroad. "
         "A meal that a customer or a conference provides lowers the limit by one third."),
        ("text", "Alcohol is not paid for, except at dinners with customers that your manager has approved."),
    ],
    [
        ("heading", "5. Claims"),
        ("text", "Submit your expense claim within 30 days after the trip. Later claims are not accepted."),
        ("text", "Attach a receipt for every item above CNY 50. If a receipt is lost, write a short statement "
         "and have your manager sign it; this is possible twice a year."),
        ("text", "Approved claims are paid on the tenth of the following month, together with the salary."),
        ("text", "Amounts in other currencies are converted at the rate of the day on which you paid."),
        ("heading", "6. What is not paid for"),
        ("text", "Fines, minibar, laundry on trips of less than five nights, seat upgrades and travel insurance "
         "that you take out yourself are not paid for. The company insures every trip that was approved."),
        ("heading", "7. In an emergency"),
        ("text", "Call the travel desk at any hour on extension 8700. Your safety comes first: in an emergency "
         "you may change bookings without approval and explain afterwards."),
    ],
]  # fmt: skip


def write_rag_txt(path: Path) -> None:
    """Write the one text file that is not UTF-8, with the line ends of a Windows editor."""
    path.write_bytes(RAG_ZH.replace("\n", "\r\n").encode("gb18030"))


def write_handbook(path: Path) -> None:
    """Write the handbook as .docx with real heading styles and tables."""
    from docx import Document
    from docx.oxml.ns import qn

    document = Document()
    for name in ("Normal", "Title", "Heading 1"):
        properties = document.styles[name].element.get_or_add_rPr()
        properties.get_or_add_rFonts().set(qn("w:eastAsia"), "Microsoft YaHei")
    for kind, content in HANDBOOK_ZH:
        if isinstance(content, list):
            table = document.add_table(rows=0, cols=len(content[0]), style="Table Grid")
            for row in content:
                for cell, text in zip(table.add_row().cells, row, strict=True):
                    cell.text = text
        elif kind == "text":
            document.add_paragraph(content)
        else:
            document.add_heading(content, level=0 if kind == "title" else 1)

    about = document.core_properties
    about.author = about.last_modified_by = "ragkit"
    about.title, about.language, about.comments = "云雀岛科技员工手册", "zh-CN", ""
    about.created = about.modified = DATE
    about.revision = 1
    buffer = io.BytesIO()
    document.save(buffer)
    _write_zip_with_fixed_times(buffer, path)


def _write_zip_with_fixed_times(buffer: io.BytesIO, path: Path) -> None:
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            entry = zipfile.ZipInfo(name, date_time=DATE.timetuple()[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 0  # the same on Windows and on Unix
            new.writestr(entry, old.read(name))


def write_travel_policy(path: Path) -> None:
    """Write the policy as a .pdf of three A5 pages, so that page numbers matter."""
    from reportlab.lib import colors
    from reportlab.lib.pagesizes import A5
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.lib.units import mm
    from reportlab.platypus import Flowable, PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table

    styles = getSampleStyleSheet()
    styles["BodyText"].fontSize, styles["BodyText"].leading = 12, 16
    style_of = {"title": styles["Title"], "heading": styles["Heading2"], "text": styles["BodyText"]}
    grid = [
        ("GRID", (0, 0), (-1, -1), 0.5, colors.grey),
        ("FONTSIZE", (0, 0), (-1, -1), 11),
        ("FONTNAME", (0, 0), (-1, 0), "Helvetica-Bold"),
    ]
    story: list[Flowable] = []
    for page in TRAVEL_EN:
        for kind, content in page:
            if isinstance(content, list):
                story += [Spacer(0, 2 * mm), Table(content, style=grid, hAlign="LEFT"), Spacer(0, 2 * mm)]
            else:
                story.append(Paragraph(content, style_of[kind]))
        story.append(PageBreak())

    # invariant: no time of the day and no random id in the file; uncompressed: the same bytes with any zlib
    template = SimpleDocTemplate(
        str(path),
        pagesize=A5,
        leftMargin=18 * mm,
        rightMargin=18 * mm,
        topMargin=18 * mm,
        bottomMargin=18 * mm,
        title="Larkisle Travel and Expense Policy",
        author="ragkit",
        creator="ragkit",
        subject="Sample document",
        lang="en",
        invariant=1,
        pageCompression=0,
    )
    template.build(story)


def main() -> None:
    SAMPLES.mkdir(parents=True, exist_ok=True)
    for name, write in (
        ("rag_zh.txt", write_rag_txt),
        ("handbook_zh.docx", write_handbook),
        ("travel_policy_en.pdf", write_travel_policy),
    ):
        write(SAMPLES / name)
        print(f"{name}: {(SAMPLES / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
